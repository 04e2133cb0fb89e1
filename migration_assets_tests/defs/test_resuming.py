"""Runs that belong together do not do the same work twice; runs that do not, take turns."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_assets.adoption import Strategy
from migration_assets.defs.assets import as_asked
from migration_assets.defs.launch import PullConfig, launch
from migration_assets.defs.pulling import Pulling
from migration_assets.defs.resuming import kin
from migration_assets.errors import Busy
from migration_assets.legacy import Source, load_description
from migration_assets.settings import Settings
from migration_assets.steps.clinical_ranges import ClinicalRange, choose_range
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.defs.test_assets import DESCRIPTION, ScriptedConnections, definitions
from migration_assets_tests.defs.test_following import Flaky, seed
from migration_assets_tests.scripted import NOW, ORGANIZATIONS

FAILURE, SUCCESS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
TIMELESS = DESCRIPTION.split("  cursor:", maxsplit=1)[0] + "streams: []\n"


@dataclass(frozen=True)
class Described(ScriptedConnections):
    """Scripted, with a description of the test's own."""

    described: str = DESCRIPTION

    def source(self) -> Source:
        """As the test says."""
        return load_description(self.described)


@pytest.fixture
def connections(tmp_path: Path, clock: Clock) -> Described:
    clock.now = NOW
    settings = Settings.model_validate(
        {
            "MIGRATION_MANIFEST_URL": blank_file(tmp_path / "manifest.db"),
            "MIGRATION_START": "2026-01-01",
        }
    )
    return Described(settings, clock=clock, served=Flaky())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def ran(
    instance: dg.DagsterInstance,
    number: int,
    status: dg.DagsterRunStatus = FAILURE,
    *,
    after: dg.DagsterRun | None = None,
    **tags: str,
) -> dg.DagsterRun:
    """A run on record."""
    run = dg.DagsterRun(
        job_name="__ASSET_JOB",
        run_id=f"00000000-0000-4000-8000-{number:012}",
        status=status,
        parent_run_id=after.run_id if after else None,
        root_run_id=(after.root_run_id or after.run_id) if after else None,
        tags={f"dagster/{name}": value for name, value in tags.items()},
    )
    return instance.add_run(run)


def test_retries_of_a_failed_run_know_each_other_and_nobody_else(
    instance: dg.DagsterInstance,
) -> None:
    first = ran(instance, 1)
    second = ran(instance, 2, after=first)
    third = ran(instance, 3, after=second)
    ran(instance, 9)
    assert kin(instance, third) == {first.run_id, second.run_id, third.run_id}


def test_a_run_executed_again_after_a_success_pulls_everything_and_so_do_its_retries(
    instance: dg.DagsterInstance,
) -> None:
    """«Re-execute all» of what went well is somebody's wish to do it again."""
    first = ran(instance, 1, SUCCESS, backfill="b")
    again = ran(instance, 2, after=first)
    retry = ran(instance, 3, after=again)
    assert kin(instance, again) == {again.run_id}
    assert kin(instance, retry) == {again.run_id, retry.run_id}


def test_the_runs_of_a_backfill_and_of_the_one_that_repeats_it_belong_together(
    instance: dg.DagsterInstance,
) -> None:
    first = ran(instance, 1, SUCCESS, backfill="b")
    second = ran(instance, 2, backfill="b")
    repeated = ran(instance, 3, backfill="c", root_backfill_id="b")
    other = ran(instance, 4, backfill="d")
    assert kin(instance, repeated) == {first.run_id, second.run_id, repeated.run_id}
    # The daemon drops the backfill's tags from a retry once the backfill has ended.
    retry = ran(instance, 5, after=second)
    assert kin(instance, retry) >= {first.run_id, second.run_id, retry.run_id}
    assert kin(instance, other) == {other.run_id}


def test_a_stream_without_a_change_time_is_read_once_for_all_chunks_of_a_backfill(
    connections: Described, instance: dg.DagsterInstance
) -> None:
    """Twelve chunks would read all of it twelve times, for the same rows."""
    source = connections.served
    assert isinstance(source, Flaky)
    timeless = replace(connections, described=TIMELESS)
    source.put("organizations", "O1")
    for chunk, backfill in (("2026-01-01", "b"), ("2026-02-01", "b"), ("2026-02-01", "c")):
        result = (
            definitions(timeless)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance, partition_key=chunk, tags={"dagster/backfill": backfill}
            )
        )
        assert result.success
    assert source.questions.count("organizations") == 2
    assert source.questions.count("patients") == 2


def _pulling(**values: Any) -> tuple[Pulling, list[float]]:
    slept: list[float] = []
    made = Pulling(
        ORGANIZATIONS,
        launch(PullConfig()),
        load_description(DESCRIPTION).stream("organizations"),
        frozenset(),
        patience=10,
        log=lambda *_: None,
        sleep=slept.append,
        **{"monotonic": lambda: sum(slept), **values},
    )
    return made, slept


def test_a_second_run_on_a_type_waits_until_the_first_is_done() -> None:
    """Chunks of a backfill pull side by side; each type has one writer at a time."""
    answers = iter([Busy("another"), Busy("another"), None])

    def work() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    pull, slept = _pulling()
    assert pull.in_turn(work) == "done"
    assert len(slept) == 2


def test_who_waited_longer_than_the_deadline_fails_for_now() -> None:
    def work() -> None:
        raise Busy("another")

    pull, slept = _pulling()
    with pytest.raises(Busy):
        pull.in_turn(work)
    assert 10 <= sum(slept) <= 12


@pytest.mark.parametrize("filters", [True, False])
def test_a_clinical_range_means_its_rows_and_no_others_and_seeds_no_mark(
    connections: Described, filters: bool
) -> None:
    """Were a mark seeded, following would begin in the middle of what was never read."""
    source = connections.served
    assert isinstance(source, Flaky)
    for key, day in (("A", "2023-05-01"), ("B", "2024-01-01"), ("C", None), ("D", "2022-12-31")):
        source.put("organizations", key, day=day)
    filtering = ", param: from" if filters else ""
    text = DESCRIPTION.replace(
        "  id: id\n", f"  id: id\n  record_date: {{field: day{filtering}}}\n"
    )
    described = load_description(text).stream("organizations")
    wanted = ClinicalRange(date(2023, 1, 1), date(2024, 1, 1))
    with connections.run("test") as run:
        if not filters:
            rows = source.rows["organizations"]
            run.manifest.land("organizations", rows, run_id=run.id, reopen=False)
        found = choose_range(run, ORGANIZATIONS, described, wanted)
        assert found.keys == ("A",)
        assert found.undated == 1
        assert found.landed.rows == (4 if filters else 0)
        assert run.manifest.high_water_mark("organizations") is None


@pytest.mark.parametrize(
    ("phase", "described", "paused", "swept"),
    [
        ("backfill", DESCRIPTION, False, True),
        ("backfill", DESCRIPTION, True, False),
        ("rehearse", DESCRIPTION, False, False),
        ("rehearse", TIMELESS, False, True),
        ("write", TIMELESS, False, False),
    ],
)
def test_a_night_sweeps_what_it_makes_sense_to_sweep(
    connections: Described,
    instance: dg.DagsterInstance,
    phase: str,
    described: str,
    paused: bool,
    swept: bool,
) -> None:
    made = replace(connections, described=described, phases=f'Patient = "{phase}"')
    seed(made, "patients")
    if paused:
        with made.manifest() as manifest:
            manifest.pauses.pause("patients", run_id=1, failed=9, seen=9, reasons={"x": 9})
    graph = definitions(made)
    context = dg.build_schedule_context(
        instance=instance,
        resources={"connections": made},
        scheduled_execution_time=NOW,
        repository_def=graph.get_repository_def(),
    )
    requests = graph.resolve_schedule_def("nightly_sweep").evaluate_tick(context).run_requests
    assert ("medplum__Patient" in str([each.run_config for each in requests or []])) is swept


def test_a_strategy_asked_for_is_that_of_this_run_and_this_type(connections: Described) -> None:
    pull, _ = _pulling()
    asked = replace(pull, asked=launch(PullConfig(strategy="exclusive")))
    with connections.run("test") as run:
        assert as_asked(run, pull) is run
        changed = as_asked(run, asked).adoption
        assert changed.standing("Organization").strategy is Strategy.EXCLUSIVE
        assert changed.standing("Patient").strategy is Strategy.SHARED
