"""The two dagster.yaml files: one truth, and both start."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler.instigation import InstigatorType
from dagster_celery.launcher import CeleryRunLauncher
from dagster_postgres import PostgresRunStorage

ROOT = Path(__file__).parents[2]
ONE_MACHINE = ROOT / "migration_assets" / "defs" / "dagster.yaml"
SEVERAL = ROOT / "deploy" / "dagster.yaml"


def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> Path:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return home


def test_the_two_files_differ_in_where_runs_are_kept_and_launched_and_in_nothing_else() -> None:
    """Two truths drift: a limit raised on one side would be missing on the other."""
    one: dict[str, Any] = yaml.safe_load(ONE_MACHINE.read_text(encoding="utf-8"))
    several: dict[str, Any] = yaml.safe_load(SEVERAL.read_text(encoding="utf-8"))
    assert {name: each for name, each in several.items() if name in one} == one
    assert set(several) - set(one) == {"storage", "run_launcher"}


def test_one_machine_s_file_is_read_by_dagster_as_it_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster ignores what it does not know: each value is asked of the instance itself."""
    _home(tmp_path, monkeypatch, ONE_MACHINE)
    with dg.DagsterInstance.get() as instance:
        limits = instance.get_concurrency_config()
        queue = limits.run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 5
        assert queue.tag_concurrency_limits == [
            {"key": "migration/mode", "value": "incremental", "limit": 1},
            {"key": "dagster/backfill", "limit": 4},
        ]
        assert limits.pool_config.default_pool_limit == 5
        assert str(limits.pool_config.pool_granularity) == "PoolGranularity.RUN"
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_poll_interval_seconds == 10
        assert instance.run_monitoring_max_runtime_seconds == 6 * 3600
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 300
        coordinator = instance.run_coordinator
        assert isinstance(coordinator, QueuedRunCoordinator)
        assert coordinator.dequeue_interval_seconds == 1
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 2
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"
        skipped = instance.get_tick_retention_settings(InstigatorType.SENSOR)
        assert {status.value: days for status, days in skipped.items()}["SKIPPED"] == 3


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("broker", "backend"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/1"),
        ("pyamqp://guest:guest@127.0.0.1:5672//", "db+postgresql+psycopg2://postgres@127.0.0.1/x"),
    ],
    ids=["redis", "rabbitmq"],
)
def test_several_machines_file_starts_on_postgresql(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres_url: str,
    broker: str,
    backend: str,
) -> None:
    """The URL in the example is of the kind that starts; a run can be kept and found again."""
    _home(tmp_path, monkeypatch, SEVERAL)
    example = _settings(ROOT / "deploy" / "migration.env.example")["DAGSTER_PG_URL"]
    scheme = example.partition("://")[0]
    monkeypatch.setenv("DAGSTER_PG_URL", f"{scheme}://{postgres_url.partition('://')[2]}")
    monkeypatch.setenv("CELERY_BROKER_URL", broker)
    monkeypatch.setenv("CELERY_RESULT_BACKEND", backend)
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.run_launcher, CeleryRunLauncher)
        assert instance.run_launcher.celery.conf.broker_url == broker
        assert instance.run_launcher.celery.conf.result_backend == backend
        assert isinstance(instance.run_storage, PostgresRunStorage)

        @dg.job
        def nothing() -> None:
            pass

        kept = instance.create_run_for_job(nothing)
        assert instance.get_run_by_id(kept.run_id) is not None


def test_the_example_names_every_variable_that_deploy_reads() -> None:
    asked = {
        one["env"]
        for one in _environment(yaml.safe_load(SEVERAL.read_text(encoding="utf-8")))
    }  # fmt: skip
    assert asked <= set(_settings(ROOT / "deploy" / "migration.env.example"))


def _settings(file: Path) -> dict[str, str]:
    lines = [each for each in file.read_text(encoding="utf-8").splitlines() if "=" in each]
    pairs = [each.split("=", 1) for each in lines if not each.startswith("#")]
    return {name: value for name, value in pairs}  # noqa: C416 - dict() would not type


def _environment(node: Any) -> list[dict[str, str]]:
    if isinstance(node, dict):
        if set(node) == {"env"}:
            return [node]
        return [each for value in node.values() for each in _environment(value)]
    if isinstance(node, list):
        return [each for value in node for each in _environment(value)]
    return []
