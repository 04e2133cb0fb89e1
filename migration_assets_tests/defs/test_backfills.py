"""Backfills as a person launches them: over GraphQL, a code server, and the daemon's own loops.

Runs are executed in this process, at once: only their launcher is not the real one. The legacy API
is a socket; Medplum is not set, so that everything rehearses.
"""

import asyncio
import datetime as dt
import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import (
    consume_new_runs_for_automatic_reexecution,
)
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_graphql.schema import create_schema

from migration_assets.connections import Connections
from migration_assets.defs.retries import PATIENCE, TIMES, owed_retries_sensor
from migration_assets.manifest import State
from migration_assets.settings import Settings
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply

pytestmark = [
    # Dagster's own event loops, which it closes without a last look.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine.*was never awaited:RuntimeWarning"),
]

CANARY = "Kanarienvogel"
LOG = logging.getLogger("tests")
SCHEMA = create_schema()
LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
CODE = """
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.mappings import discover
from migration_assets.settings import Settings

defs = build_definitions(
    connections=Connections(Settings.model_validate({settings!r}), environ=dict),
    mappings={{"Organization": discover()["Organization"]}},
)
"""
INSTANCE = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {
        "module": "dagster._core.run_coordinator",
        "class": "DefaultRunCoordinator",
    },
    "run_retries": {
        "enabled": True,
        "max_retries": 2,
        "retry_on_asset_or_op_failure": False,
    },
    "telemetry": {"enabled": False},
}
MONTHS = ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"]


class Clinic:
    """Serves one organization a month, and counts who is asked; may be down from a month on."""

    def __init__(self, server: LegacyServer) -> None:
        self.server = server
        self.down_from = ""
        self.status = 503
        server.routes |= {"/organizations": self.page}

    def page(self, asked: Asked) -> Reply:
        """The organizations changed in the window that is asked for."""
        since, until = asked.one("since", "2000"), asked.one("until", "2100")
        if self.down_from and since >= self.down_from:
            return Reply(b"", self.status)
        rows = [
            {
                "organization_id": f"O{number}",
                "name": "Practice",
                "at": f"2026-{number:02}-10T00:00:00Z",
                "founded": f"20{10 + number}-05-01",
            }
            for number in range(1, 5)
        ]
        return json_reply({"rows": [each for each in rows if since <= each["at"] < until]})

    @property
    def asked(self) -> list[str]:
        """The beginnings of the windows that were asked for, the first one open."""
        return [each.one("since", "first")[:7] for each in self.server.asked]


class Dagster:
    """An instance on disk with a code server; its daemon's loops turn when they are told to."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        process: WorkspaceProcessContext,
        clinic: Clinic,
        connections: Connections,
    ) -> None:
        self.instance = instance
        self.process = process
        self.clinic = clinic
        self.connections = connections

    def forget(self) -> None:
        """Begin anew, in the account and at the source; the runs of earlier tests stay."""
        file = Path(self.connections.settings.manifest_url.removeprefix("sqlite:///"))
        for each in file.parent.glob(f"{file.name}*"):
            each.unlink()
        self.instance.wipe_assets([dg.AssetKey(["medplum", "Organization"])])
        self.clinic.down_from, self.clinic.status = "", 503
        self.clinic.server.asked.clear()

    def states(self) -> dict[State, int]:
        """What is on account, by state."""
        with self.connections.manifest() as manifest:
            balance = manifest.balances().get("organizations")
        found = balance.by_state if balance else {}
        return {state: number for state, number in found.items() if number}

    def backfill(
        self, config: dict[str, Any] | None = None, partitions: Sequence[str] = MONTHS
    ) -> list[dg.DagsterRun]:
        """Launch a backfill as the dialog does, and have the daemon work on it."""
        params: dict[str, Any] = {
            "assetSelection": [{"path": ["medplum", "Organization"]}],
            "partitionNames": list(partitions),
        }
        if config is not None:
            params["runConfigData"] = {"ops": {"medplum__Organization": {"config": config}}}
        context = self.process.create_request_context()
        asking = SCHEMA.execute_async(
            LAUNCH, context_value=context, variable_values={"params": params}
        )
        loop = asyncio.new_event_loop()
        told = loop.run_until_complete(asking).data["launchPartitionBackfill"]
        loop.close()
        assert told["__typename"] == "LaunchBackfillSuccess", told
        list(execute_backfill_iteration(self.process, LOG))
        tags = {"dagster/backfill": told["backfillId"]}
        return list(self.instance.get_runs(dg.RunsFilter(tags=tags)))

    def retries(self, run: dg.DagsterRun) -> list[dg.DagsterRun]:
        """Have the daemon look at a run that ended; the runs of its group that came after it."""
        record = self.instance.get_run_record_by_id(run.run_id)
        assert record is not None
        list(consume_new_runs_for_automatic_reexecution(self.process, [record], LOG))
        tags = {"dagster/root_run_id": run.root_run_id or run.run_id}
        return list(self.instance.get_runs(dg.RunsFilter(tags=tags)))

    def look(self) -> None:
        """Have the daemon read which runs failed since it last looked, and retry them."""
        list(EventLogConsumerDaemon().run_iteration(self.process))

    def owed(self) -> str:
        """What the sensor for owed retries says, once a failure is old enough for it."""
        clock = lambda: dt.datetime.now(dt.UTC) + PATIENCE  # noqa: E731
        later = replace(self.connections, clock=clock)
        context = dg.build_sensor_context(self.instance, resources={"connections": later})
        said = owed_retries_sensor()(context)
        assert isinstance(said, dg.SkipReason)
        return str(said.skip_message)

    def children(self, run: dg.DagsterRun) -> list[dg.DagsterRun]:
        """The runs that were started in the place of this one."""
        tags = {"dagster/parent_run_id": run.run_id}
        return list(self.instance.get_runs(dg.RunsFilter(tags=tags)))

    def tags(self, run: dg.DagsterRun) -> dict[str, str]:
        """The tags that a run has by now."""
        found = self.instance.get_run_by_id(run.run_id)
        return dict(found.tags) if found else {}

    def why(self, run: dg.DagsterRun) -> str:
        """What the failed step of a run says."""
        events = [each.dagster_event for each in self.instance.all_logs(run.run_id)]
        (failed,) = (each for each in events if each is not None and each.is_step_failure)
        data = failed.step_failure_data.user_failure_data
        return str(data.description) if data else ""


@contextmanager
def located(folder: Path, **settings: object) -> Iterator[Dagster]:
    """A code server over a source of its own; one start serves several tests."""
    with LegacyServer() as server:
        (folder / "source.yaml").write_text(
            f"{{name: small, base_url: '{server.url}', http: {{attempts: 1}}, streams: ["
            "{name: organizations, path: organizations, select: rows, id: organization_id, "
            "cursor: {field: at, param: since, until_param: until}, "
            "record_date: {field: founded}}]}"
        )
        (folder / "adoption.toml").write_text('Organization = "backfill"')
        (folder / "instance").mkdir()
        given = {
            "MIGRATION_SOURCE": str(folder / "source.yaml"),
            "MIGRATION_MANIFEST_URL": f"sqlite:///{folder / 'manifest.db'}",
            "MIGRATION_ADOPTION": str(folder / "adoption.toml"),
            "MIGRATION_START": "2026-01-01",
            **settings,
        }
        code = folder / f"location_{uuid.uuid4().hex}.py"
        code.write_text(CODE.format(settings=given))
        target = PythonFileTarget(str(code), None, str(folder), "tests")
        place = str(folder / "instance")
        with dg.DagsterInstance.local_temp(place, overrides=INSTANCE) as instance:
            with WorkspaceProcessContext(instance, target) as process:
                connections = Connections(Settings.model_validate(given), environ=dict)
                yield Dagster(instance, process, Clinic(server), connections)
            # Else the code server outlives the last test, and fails whoever notices it then.
            process._grpc_server_registry.wait_for_processes()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    with located(tmp_path_factory.mktemp("located")) as made:
        yield made


@pytest.fixture
def dagster(running: Dagster) -> Dagster:
    """With nothing on account yet, and the source as it was."""
    running.forget()
    return running


@pytest.fixture
def clinic(dagster: Dagster) -> Clinic:
    return dagster.clinic


def test_a_backfill_that_fails_for_now_is_retried_and_pulls_only_what_is_missing(
    dagster: Dagster, clinic: Clinic
) -> None:
    """The daemon retries what may clear; a month that was read is not read again."""
    clinic.down_from = "2026-03"
    (failed,) = dagster.backfill()
    assert failed.status is dg.DagsterRunStatus.FAILURE
    assert clinic.asked == ["first", "2026-02", "2026-03"]
    clinic.server.asked.clear()
    clinic.down_from = ""
    (retry,) = dagster.retries(failed)
    assert retry.status is dg.DagsterRunStatus.SUCCESS
    assert clinic.asked == ["2026-03", "2026-04"]
    assert sum(dagster.states().values()) == 4
    said = "\n".join(each.user_message for each in dagster.instance.all_logs(retry.run_id))
    assert "2 windows were pulled to their end" in said
    done = dagster.instance.get_materialized_partitions(dg.AssetKey(["medplum", "Organization"]))
    assert done == set(MONTHS)
    clinic.server.asked.clear()
    (again,) = dagster.backfill()
    assert again.status is dg.DagsterRunStatus.SUCCESS
    assert len(clinic.asked) == 4, "a new backfill over the same months pulls on purpose"


def test_a_refusal_that_trying_again_cannot_mend_is_not_retried(
    dagster: Dagster, clinic: Clinic
) -> None:
    """The incident: a 405 that was retried 5,363 times over six days."""
    clinic.down_from, clinic.status = "2026-02", 405
    (failed,) = dagster.backfill()
    assert failed.status is dg.DagsterRunStatus.FAILURE
    assert dagster.retries(failed) == []
    asked = len(clinic.asked)
    assert dagster.retries(failed) == []
    assert len(clinic.asked) == asked


def test_a_retry_that_then_meets_a_refusal_is_the_last(dagster: Dagster, clinic: Clinic) -> None:
    """A retry inherits its parent's tags: what may clear once is not what may clear for ever."""
    clinic.down_from = "2026-02"
    (failed,) = dagster.backfill()
    clinic.status = 405
    (retry,) = dagster.retries(failed)
    assert retry.status is dg.DagsterRunStatus.FAILURE
    assert len(dagster.retries(retry)) == 1


def test_a_failure_that_the_daemon_read_too_early_is_retried_all_the_same_and_once(
    dagster: Dagster, clinic: Clinic
) -> None:
    """It reads of a failure once, and the event is written before the run's own state.

    The run is marked to be retried for ever then, and its backfill waits as long.
    """
    dagster.look()  # from here on it reads what is new
    storage = dagster.instance.run_storage
    really = storage.handle_run_event

    def looked_at(run_id: str, event: dg.DagsterEvent, *rest: Any) -> None:
        if event.is_run_failure:
            dagster.look()
        really(run_id, event, *rest)

    clinic.down_from = "2026-03"
    with mock.patch.object(storage, "handle_run_event", looked_at):
        (failed,) = dagster.backfill()
    assert failed.is_complete_and_waiting_to_retry
    dagster.look()
    assert dagster.children(failed) == [], "Dagster does not start it by itself"
    clinic.down_from = ""
    assert failed.run_id in dagster.owed()
    dagster.look()
    (retry,) = dagster.children(failed)
    assert retry.status is dg.DagsterRunStatus.SUCCESS
    assert sum(dagster.states().values()) == 4
    assert "has started" in dagster.owed()
    dagster.instance.report_run_failed(failed)
    dagster.look()
    assert len(dagster.children(failed)) == 1, "said once more, it is not tried once more"


def test_a_retry_that_could_not_be_started_is_asked_for_again_but_not_for_ever(
    dagster: Dagster, clinic: Clinic
) -> None:
    """The code server did not answer at that moment: Dagster gives the retry up for good."""
    dagster.look()
    clinic.down_from = "2026-03"
    (failed,) = dagster.backfill()
    with mock.patch.object(type(dagster.instance), "create_reexecuted_run", side_effect=OSError):
        dagster.look()
        assert dagster.tags(failed)["dagster/will_retry"] == "false"
        for _ in range(TIMES):
            assert failed.run_id in dagster.owed()
            dagster.look()
        assert "has started" in dagster.owed()
    assert dagster.children(failed) == []


def test_a_failure_that_is_not_to_be_retried_is_not_said_again(
    dagster: Dagster, clinic: Clinic
) -> None:
    dagster.look()
    clinic.down_from, clinic.status = "2026-02", 405
    (failed,) = dagster.backfill()
    dagster.look()
    assert failed.run_id not in dagster.owed()


def test_a_backfill_of_a_range_of_weeks_in_several_runs_covers_each_of_them_once(
    tmp_path: Path,
) -> None:
    """Two weeks a run. What changed before the range or after it is not asked for."""
    per_run = {"MIGRATION_PARTITIONS": "weekly", "MIGRATION_BACKFILL_PARTITIONS_PER_RUN": 2}
    weeks = [f"2026-{each}" for each in ("02-01", "02-08", "02-15", "02-22", "03-01", "03-08")]
    with located(tmp_path, **per_run) as dagster:
        runs = dagster.backfill(partitions=weeks)
        assert [each.status for each in runs] == [dg.DagsterRunStatus.SUCCESS] * 3
        asked = sorted((a.one("since"), a.one("until")) for a in dagster.clinic.server.asked)
        assert [since[:10] for since, _ in asked] == weeks
        assert [until[:10] for _, until in asked] == [*weeks[1:], "2026-03-15"]
        assert sum(dagster.states().values()) == 2, "of February 10 and of March 10"
        done = dagster.instance.get_materialized_partitions(
            dg.AssetKey(["medplum", "Organization"])
        )
        assert done == set(weeks)
        with dagster.connections.manifest() as manifest:
            assert set(manifest.pulled_windows("organizations")) == set(weeks)


def test_the_backfill_dialogs_config_reaches_every_run(dagster: Dagster, clinic: Clinic) -> None:
    (run,) = dagster.backfill({"dry_run": True, "limit": 2})
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert dagster.states() == {State.PENDING: 4}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"keys": [CANARY], "sample": 3}, "keys and sample both choose rows"),
        ({"page_size": 5}, "page_size means nothing for organizations"),
    ],
)
def test_what_makes_no_sense_in_the_dialog_is_refused_before_anything_is_pulled(
    dagster: Dagster, clinic: Clinic, config: dict[str, Any], said: str
) -> None:
    (run,) = dagster.backfill(config)
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert said in dagster.why(run)
    assert CANARY not in dagster.why(run)
    assert clinic.asked == []
    assert dagster.states() == {}
    assert dagster.retries(run) == []


def test_a_range_of_clinical_dates_is_chosen_of_what_landed_and_moves_no_mark(
    dagster: Dagster, clinic: Clinic
) -> None:
    """Where the API cannot filter by it; the years of founding are 2011 to 2014."""
    dagster.backfill()
    with dagster.connections.manifest() as manifest:
        mark, windows = (
            manifest.high_water_mark("organizations"),
            manifest.pulled_windows("organizations"),
        )
    clinic.server.asked.clear()
    (run,) = dagster.backfill({"record_since": "2012-01-01", "record_until": "2014-01-01"})
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert clinic.asked == []
    (event,) = dagster.instance.fetch_materializations(
        dg.AssetKey(["medplum", "Organization"]), limit=1
    ).records
    told = event.asset_materialization.metadata if event.asset_materialization else {}
    assert told["records/in_range"].value == 2
    with dagster.connections.manifest() as manifest:
        assert manifest.high_water_mark("organizations") == mark
        assert manifest.pulled_windows("organizations") == windows
    assert mark is not None
    assert mark > dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
