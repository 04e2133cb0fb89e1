"""The sensor: what keeps one type from being pulled keeps no other, and nothing causes a storm."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_assets.connections import Connections
from migration_assets.defs.back_off import BackOff, read_back_off, rest_after
from migration_assets.defs.failing import RETRY
from migration_assets.defs.following import Tick
from migration_assets.defs.incremental import JOB
from migration_assets.defs.keys import asset_key, stream_key
from migration_assets.defs.looking_on import Patience
from migration_assets.defs.partitions import change_time_partitions
from migration_assets.defs.probing import ALL_SECONDS, can_be_asked, probe, seconds_between
from migration_assets.errors import Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.legacy import PulledPage, PulledRow, Source, load_description
from migration_assets.legacy.description.http import Limit
from migration_assets.manifest import Alongside, Settlement, State, token
from migration_assets.settings import Settings
from migration_assets.steps.polling import note_current
from migration_assets.steps.resolution import AWAITING
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.defs.test_assets import (
    AFTER_NOW,
    CANARY,
    MAPPINGS,
    ScriptedConnections,
    definitions,
    skipped,
)
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply
from migration_assets_tests.scripted import NOW, ScriptedSource

STREAMS = ("organizations", "patients")
CHILDREN = (
    "{name: s, path: s, id: id, cursor: {field: at, param: since}, "
    "parent: {ids_file: keys.txt, param: of}}"
)


class Flaky(ScriptedSource):
    """Serves what is scripted, but for the streams that are down; counts the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.down: dict[str, Exception] = {}
        self.questions: list[str] = []

    def pages(
        self,
        stream: str,
        since: datetime | None,
        until: datetime | None,
        *,
        parents: Iterable[str] | None = None,
        known_parents: Callable[[str], bool] | None = None,
        whole: bool = False,
    ) -> Iterator[PulledPage]:
        """As scripted, or an error."""
        self.questions.append(stream)
        if stream in self.down:
            raise self.down[stream]
        yield from super().pages(stream, since, until)


class Limited(ScriptedConnections):
    """The same, of a source that takes ten requests a minute."""

    def source(self) -> Source:
        """With a limit."""
        limit = Limit(requests=10, per_seconds=60)
        return super().source().model_copy(update={"limits": (limit,)})


@pytest.fixture
def source() -> Flaky:
    return Flaky()


@pytest.fixture
def connections(tmp_path: Path, source: Flaky, clock: Clock) -> ScriptedConnections:
    """Nothing is delivered: who is pulled, and when, needs no Medplum."""
    clock.now = NOW
    settings = Settings.model_validate(
        {
            "MIGRATION_MANIFEST_URL": blank_file(tmp_path / "manifest.db"),
            "MIGRATION_START": "2026-01-01",
        }
    )
    return ScriptedConnections(settings, clock=clock, served=source)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def seed(connections: Connections, *streams: str, at: datetime = NOW) -> None:
    """Give streams a mark, as their first backfill does."""
    with connections.manifest() as manifest:
        run = manifest.start_run("first", pipeline_version="1")
        for each in streams:
            beside = Alongside(seed=at)
            manifest.land(each, [], run_id=run, reopen=False, alongside=beside)
            note_current(manifest, each, at)


class Ticks:
    """The sensor, tick after tick, with the cursor the daemon would keep."""

    def __init__(self, connections: Connections, instance: dg.DagsterInstance) -> None:
        self.connections = connections
        self.instance = instance
        self.cursor: str | None = None

    def next(self) -> dg.SensorResult:
        """One tick."""
        made = definitions(self.connections)
        context = dg.build_sensor_context(
            instance=self.instance,
            definitions=made,
            resources={"connections": self.connections},
            cursor=self.cursor,
        )
        said = made.resolve_sensor_def("legacy_changes")(context)
        if isinstance(said, dg.SkipReason):
            return dg.SensorResult(skip_reason=said)
        assert isinstance(said, dg.SensorResult)
        self.cursor = said.cursor
        return said

    def types(self) -> set[str]:
        """The types of the one run that the next tick asks for; none if it asks for none."""
        said = self.next()
        requests = said.run_requests or []
        assert len(requests) <= 1
        return {op.removeprefix("medplum__") for each in requests for op in each.run_config["ops"]}

    def run(self) -> bool:
        """Execute the run that the next tick asks for; whether it went well."""
        (request,) = self.next().run_requests or []
        job = definitions(self.connections).resolve_job_def(JOB)
        return job.execute_in_process(
            instance=self.instance,
            run_config=request.run_config,
            tags={**request.tags, "dagster/sensor_name": "legacy_changes"},
            partition_key=request.partition_key,
            asset_selection=request.asset_selection,
            raise_on_error=False,
        ).success


@pytest.fixture
def ticks(connections: ScriptedConnections, instance: dg.DagsterInstance) -> Ticks:
    return Ticks(connections, instance)


def test_one_stream_that_is_down_does_not_keep_the_others(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky, clock: Clock
) -> None:
    seed(connections, *STREAMS)
    source.put("patients", "P1", at=AFTER_NOW)
    source.down["organizations"] = Transient("organizations went down")
    assert ticks.types() == {"Patient"}
    source.questions.clear()
    assert ticks.types() == {"Patient"}
    assert source.questions == ["patients"], "what is down rests before it is asked again"
    source.down.clear()
    source.put("organizations", "O1", at=AFTER_NOW)
    clock.now += timedelta(minutes=2)
    assert ticks.types() == {"Organization", "Patient"}


def test_with_everything_down_the_tick_says_why_and_starts_nothing(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky
) -> None:
    seed(connections, *STREAMS)
    source.down |= dict.fromkeys(STREAMS, Transient("the line is dead"))
    assert "Organization, Patient did not answer: the line is dead" in skipped(ticks.next())
    assert "Resting after a failure: Organization, Patient" in skipped(ticks.next())


def test_a_type_without_a_mark_is_named_and_keeps_nobody(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky
) -> None:
    """The first backfill hands over type by type: each is followed from when it has a mark."""
    seed(connections, "patients")
    assert "No mark yet: Organization: materialize" in skipped(ticks.next())
    source.put("patients", "P1", at=AFTER_NOW)
    source.put("organizations", "O1", at=AFTER_NOW)
    assert ticks.types() == {"Patient"}
    seed(connections, "organizations")
    assert ticks.types() == {"Organization", "Patient"}


def test_a_type_that_another_run_is_working_on_is_left_to_it(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky, instance: dg.DagsterInstance
) -> None:
    """Two runs would only take turns at one lease; a backfill of one type lasts for days."""
    seed(connections, *STREAMS)
    source.put("patients", "P1", at=AFTER_NOW)
    source.put("organizations", "O1", at=AFTER_NOW)
    backfill = dg.DagsterRun(
        job_name="__ASSET_JOB",
        run_id="00000000-0000-4000-8000-000000000001",
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({asset_key("Organization")}),
    )
    instance.add_run(backfill)
    assert ticks.types() == {"Patient"}
    instance.add_run(
        replace_run(backfill, job_name=JOB, run_id="00000000-0000-4000-8000-000000000002")
    )
    assert "A pull is queued or running" in skipped(ticks.next())


def replace_run(run: dg.DagsterRun, *, job_name: str, run_id: str) -> dg.DagsterRun:
    """Another run like it."""
    return dg.DagsterRun(job_name=job_name, run_id=run_id, status=run.status)


def test_a_type_whose_pull_failed_rests_longer_and_longer_while_the_others_are_pulled(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky, clock: Clock
) -> None:
    seed(connections, *STREAMS)
    source.put("organizations", "O1", at=AFTER_NOW)
    source.before_page = _fail_when_pulled(source)
    assert not ticks.run()
    source.put("patients", "P1", at=AFTER_NOW)
    source.before_page = None
    assert ticks.types() == {"Patient"}, "the failed type rests"
    first = resting(ticks, "organizations")
    assert first["failures"] == 1
    clock.now += timedelta(minutes=2)
    source.before_page = _fail_when_pulled(source)
    assert not ticks.run()
    source.before_page = None
    ticks.next()
    second = resting(ticks, "organizations")
    assert second["failures"] == 2
    clock.now += timedelta(minutes=5)
    assert ticks.run()
    ticks.next()
    assert "organizations" not in json.loads(str(ticks.cursor))["resting"]


def resting(ticks: Ticks, stream: str) -> dict[str, Any]:
    """What the sensor remembers of a stream that rests."""
    found: dict[str, Any] = json.loads(str(ticks.cursor))["resting"][stream]
    return found


def _fail_when_pulled(source: Flaky) -> Callable[[int], None]:
    """Let the probes through, and fail the organizations' pull after them."""
    asked = len(source.questions)

    def fail(_page: int) -> None:
        since = source.questions[asked:]
        if since.count("organizations") > 1 and since[-1] == "organizations":
            raise Transient("went down in the middle")

    return fail


def test_what_a_failed_pull_left_is_pulled_although_the_source_is_quiet(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky, clock: Clock
) -> None:
    """Rows that landed but were not delivered are no news: nobody would come for them."""
    seed(connections, *STREAMS)
    state = BackOff()
    state.fail("patients", NOW.timestamp(), by_run=True)
    ticks.cursor = state.write()
    assert ticks.types() == set()
    clock.now += timedelta(minutes=2)
    assert ticks.types() == {"Patient"}


def test_who_waits_for_what_changed_is_pulled_with_it_and_nobody_else(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky
) -> None:
    """A run of all types took three times as long; one of the changed alone left them waiting."""
    seed(connections, *STREAMS)
    source.put("organizations", "O1", at=AFTER_NOW)
    assert ticks.types() == {"Organization"}
    with connections.manifest() as manifest:
        run = manifest.start_run("awaits", pipeline_version="1")
        row = PulledRow("P1", {"id": "P1"}, NOW, deleted=False, problem=None)
        manifest.land("patients", [row], run_id=run, reopen=False)
        (unit,) = manifest.pending_units("patients")
        awaited = token("Organization", identifier_system("Organization"), "O1")
        held = Settlement(
            unit_id=unit.id,
            revision=unit.revision,
            state=State.QUARANTINED,
            reason=AWAITING,
            awaiting=awaited,
            mapping_version="1.0.0",
        )
        manifest.settle([held], run_id=run)
    assert ticks.types() == {"Organization", "Patient"}


def test_a_tick_that_looks_on_forgets_what_the_look_before_it_said(
    connections: ScriptedConnections, source: Flaky, tmp_path: Path
) -> None:
    """A type would be named as many times as the tick looked."""
    seed(connections, "patients")
    made, slept = definitions(connections), list[float]()
    threads = {"sensors": {"use_threads": True, "num_workers": 2}}
    with dg.instance_for_test(overrides=threads, temp_dir=str(tmp_path)) as threaded:
        context = dg.build_sensor_context(instance=threaded, definitions=made)
        tick = Tick(
            context,
            connections,
            list(MAPPINGS.values()),
            change_time_partitions(connections.settings),
        )
        patience = Patience(monotonic=lambda: sum(slept), sleep=slept.append)
        said = tick.look_on(2, patience=patience)
    assert len(slept) > 1
    assert skipped(said).count("Organization") == 1
    assert len(source.questions) == len(slept) + 1


def test_an_unexpected_error_names_no_patient_in_the_tick(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(connections, *STREAMS)
    source.down["patients"] = ValueError(CANARY)
    said = skipped(ticks.next())
    assert "unexpected ValueError" in said
    assert CANARY not in said

    def broken(*_: object) -> None:
        raise KeyError(CANARY)

    monkeypatch.setattr(ScriptedConnections, "adoption", broken)
    ticks.cursor = None
    with pytest.raises(Exception, match="unexpected KeyError") as raised:
        ticks.next()
    assert CANARY not in str(raised.value)
    assert raised.value.__suppress_context__


def test_an_outage_that_spans_partitions_is_made_up_for_in_all_of_them(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky
) -> None:
    seed(connections, *STREAMS, at=NOW - timedelta(days=75))
    source.put("patients", "P1", at=AFTER_NOW)
    (request,) = ticks.next().run_requests or []
    tags = {name.rsplit("/")[-1]: value for name, value in request.tags.items()}
    assert tags["asset_partition_range_start"].startswith("2026-08")
    assert tags["asset_partition_range_end"] > "2026-11"


def test_a_stream_is_observed_when_something_changed_and_not_every_tick(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky, clock: Clock
) -> None:
    """A row in the event log every 30 s for ten streams is ten million a year."""
    seed(connections, *STREAMS)
    assert len(ticks.next().asset_events) == 2
    assert not ticks.next().asset_events
    source.put("patients", "P1", at=AFTER_NOW)
    clock.now += timedelta(minutes=5)
    (seen,) = ticks.next().asset_events
    assert isinstance(seen, dg.AssetObservation)
    assert seen.asset_key == stream_key("patients")
    assert seen.metadata["rows_not_on_account"].value == 1
    assert seen.metadata["lag_seconds"].value == pytest.approx(300, abs=2)


def test_looking_for_changes_leaves_the_limits_to_what_is_pulled(
    connections: ScriptedConnections, instance: dg.DagsterInstance, source: Flaky, clock: Clock
) -> None:
    """Ten requests a minute: two questions every 5 s alone would be twenty-four."""
    seed(connections, *STREAMS)
    limited = Limited(
        connections.settings, clock=connections.clock, served=source, phases=connections.phases
    )
    ticks = Ticks(limited, instance)
    ticks.next()
    asked = len(source.questions)
    clock.now += timedelta(seconds=59)
    assert "every 60 s" in str(ticks.next().skip_reason)
    assert len(source.questions) == asked
    clock.now += timedelta(seconds=1)
    ticks.next()
    assert len(source.questions) == asked + len(STREAMS)


def test_a_limit_of_other_hours_slows_nobody_down() -> None:
    nightly = load_description(
        "{name: s, base_url: 'https://s.example/', limits: [{requests: 1, per_seconds: 60, "
        "hours: [22, 24], tz: UTC}], streams: [{name: s, path: s, id: id}]}"
    )
    assert seconds_between(nightly, 1, NOW.replace(hour=12)) == 0
    assert seconds_between(nightly, 1, NOW.replace(hour=23)) == 300


def test_what_there_was_no_time_to_ask_is_asked_first_next_time(
    connections: ScriptedConnections, source: Flaky
) -> None:
    """Ten slow streams are more than a tick's minute: the last would never be asked."""
    seed(connections, *STREAMS)
    times = iter([0.0, 1.0, ALL_SECONDS + 2])
    with connections.manifest() as manifest:
        mappings = list(MAPPINGS.values())
        asked = list(probe(mappings, connections, manifest, monotonic=lambda: next(times)))
    assert [each.mapping.stream for each in asked] == ["organizations"]


def test_a_probe_asks_once_and_does_not_wait_for_an_api_that_is_down(
    tmp_path: Path, clock: Clock
) -> None:
    """Six tries with back-off take minutes; a tick has one."""
    clock.now = NOW
    with LegacyServer() as server:

        def unavailable(_asked: Asked) -> Reply:
            return Reply(b"", 503, {"Retry-After": "600"})

        server.routes |= {"/organizations": unavailable, "/patients": unavailable}
        described = tmp_path / "source.yaml"
        described.write_text(
            f"{{name: x, base_url: '{server.url}', defaults: {{path: '{{stream}}', select: rows,"
            " id: id, cursor: {field: at, param: since, precision_seconds: 0.001}}}"
        )
        settings = {
            "MIGRATION_MANIFEST_URL": blank_file(tmp_path / "manifest.db"),
            "MIGRATION_SOURCE": described,
        }
        made = Connections(Settings.model_validate(settings), clock=clock, environ=dict)
        seed(made, *STREAMS)
        with made.manifest() as manifest:
            answers = list(probe(list(MAPPINGS.values()), made, manifest))
        assert [bool(each.problem) for each in answers] == [True, True]
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("stream", "cheap"),
    [
        ("{name: s, path: s, id: id, cursor: {field: at, param: since}}", True),
        ("{name: s, path: s, id: id, cursor: {field: at}}", False),
        ("{name: s, path: s, id: id}", False),
        (
            CHILDREN,
            False,
        ),
        ("{name: s, path: s, id: id, queue: {type: acknowledge, path: a, event: e, ids: i}}", True),
    ],
)
def test_only_what_one_question_can_tell_is_asked(stream: str, cheap: bool) -> None:
    """Else every tick would read a whole stream, or find «more» and start a run."""
    described = load_description(f"{{name: x, base_url: 'https://x.example', streams: [{stream}]}}")
    assert can_be_asked(described.stream("s")) is cheap


@pytest.mark.parametrize("cursor", [None, "", "no json", "[]", '{"resting": {"x": 3}}', '{"a": 1}'])
def test_a_cursor_that_a_person_spoilt_is_a_new_beginning(cursor: str | None) -> None:
    assert read_back_off(cursor) == BackOff()


def test_the_rest_doubles_and_ends_at_half_an_hour() -> None:
    rests = [rest_after(failures).total_seconds() for failures in range(1, 40)]
    assert rests[:3] == [60, 120, 240]
    assert max(rests) == rests[-1] == 1800


def test_a_pull_that_the_sensor_started_is_not_retried_beside_it(
    ticks: Ticks, connections: ScriptedConnections, source: Flaky, instance: dg.DagsterInstance
) -> None:
    """It has a back-off of its own: the daemon's retries, without one, would be a storm."""
    seed(connections, *STREAMS)
    source.put("organizations", "O1", at=AFTER_NOW)
    source.before_page = _fail_when_pulled(source)
    assert not ticks.run()
    (run,) = instance.get_runs(dg.RunsFilter(job_name=JOB))
    assert run.tags[RETRY] == "false"
