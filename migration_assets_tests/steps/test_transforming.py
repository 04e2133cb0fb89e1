"""A Bot transforms rows: each answer becomes one fate, once, under the Bot's own version.

What a Bot says goes the way of every mapping: identifier, validation, fingerprint, account.
"""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import AssetKey

from migration_assets.cli.check_bots import bots
from migration_assets.defs.build import build_definitions
from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent, Transient
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.records import to_micros
from migration_assets.manifest.rotation import rotate
from migration_assets.manifest.sealing import new_key
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Bot, Removal
from migration_assets.medplum import MedplumClient, RunsBots
from migration_assets.operations.rehearsed_rows import landed_rows
from migration_assets.operations.rehearsing import NOT_ASKED, Rehearsal, Rehearsed
from migration_assets.operations.remapping import version_change
from migration_assets.pipeline import land, migrate
from migration_assets.profiling.register import register
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.findings import Kind
from migration_assets.run import Window
from migration_assets.settings import Settings
from migration_assets.steps.preparation import preview
from migration_assets.steps.transforming import ask_rows, bound, version_now
from migration_assets_tests.conftest import Clock
from migration_assets_tests.steps.transformer import BY_BOT, CODE, BotClinic

pytestmark = pytest.mark.sandbox

NEW_CODE = CODE.replace("name: input.name", "name: input.name, active: true")


@pytest.fixture
def clinic(manifest: Manifest, running: Sandbox, monkeypatch: pytest.MonkeyPatch) -> BotClinic:
    monkeypatch.setattr("migration_assets.steps.transforming._PAUSE_SECONDS", 0.01)
    running.reset()
    running.behave()
    running.change(bots=True, bot_concurrency=100)
    made = BotClinic(manifest, running)
    made.deploy()
    return made


def test_each_answer_of_a_bot_becomes_one_fate_of_its_row(clinic: BotClinic) -> None:
    worked = clinic.migrate(
        "plain", "skip me", "quarantine me", "throw", "nothing", "text", "patient", "two types",
        "stored", "invalid",
    )  # fmt: skip
    version = f"1.0.0+bot.{clinic.client.search('Bot', {})[0]['meta']['versionId']}"
    assert clinic.standing() == {
        "plain": (State.MIGRATED, None, None, version),
        "skip me": (State.SKIPPED, "test-record", None, version),
        "quarantine me": (State.QUARANTINED, "unmapped-code", "name", version),
        "throw": (State.QUARANTINED, "bot-failed", "TypeError", version),
        "nothing": (State.QUARANTINED, "bot-answer-empty", "", version),
        "text": (State.QUARANTINED, "bot-answer-not-json", "", version),
        "patient": (State.QUARANTINED, "bot-answer-of-another-type", "Organization", version),
        "two types": (State.QUARANTINED, "bot-answer-of-another-type", "Organization", version),
        "stored": (State.QUARANTINED, "bot-answer-was-written", "Organization.id", version),
        "invalid": (State.QUARANTINED, "wrong-json-type", "Organization.active", version),
    }
    assert set(clinic.held()) == {"plain"}
    assert worked.open == 0


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_group_of_declared_types_is_written_together(clinic: BotClinic) -> None:
    own = "identifier: [{ system: 'http://your-source-system.com/locationId', value: input.id }]"
    code = CODE.replace("'Location' }", f"'Location', {own} }}")
    clinic.deploy(code)
    clinic.migrate("two types", mapping=replace(BY_BOT, related=("Location",)))
    assert clinic.standing()["two types"][0] is State.MIGRATED
    assert len(clinic.client.search("Location", {})) == 1


def test_unchanged_rows_are_not_executed_again_and_changed_ones_are(clinic: BotClinic) -> None:
    clinic.migrate("one", "two", "skip me")
    assert clinic.executions == 3
    clinic.migrate("one", "two", "skip me")  # a backfill looks at all of them again
    assert clinic.executions == 3
    clinic.source.put("organizations", "one", at=5, name="Other")
    clinic.migrate()
    assert clinic.executions == 3  # not landed yet
    clinic.migrate("three")
    assert clinic.executions == 5
    assert set(clinic.held()) == {"Other", "two", "three"}


def test_a_crash_between_execution_and_settling_executes_nothing_twice(
    clinic: BotClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(Manifest, "settle", _killed)
        with pytest.raises(KeyboardInterrupt):
            clinic.migrate("one", "two", "skip me", "throw")
    assert clinic.executions == 4
    clinic.migrate()
    assert clinic.executions == 5  # what failed is not remembered: it may have been a moment's
    assert [each[0] for each in clinic.standing().values()].count(State.MIGRATED) == 2


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_crash_before_answers_are_kept_executes_that_chunk_again(
    clinic: BotClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr("migration_assets.manifest.bot_answers.BotAnswers.remember", _killed)
        with pytest.raises(KeyboardInterrupt):
            clinic.migrate("one", "two")
    clinic.migrate()
    assert clinic.executions == 4
    assert set(clinic.held()) == {"one", "two"}


def _killed(*_args: object, **_more: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_slow_bot_is_a_rows_fate_where_medplum_ends_it(clinic: BotClinic) -> None:
    clinic.deploy(timeout=1)
    clinic.migrate("slow", "plain")
    assert clinic.standing()["slow"][:2] == (State.QUARANTINED, "bot-timed-out")
    assert clinic.standing()["plain"][0] is State.MIGRATED


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_row_nothing_is_heard_of_stays_pending_and_the_others_go(
    manifest: Manifest, running: Sandbox, clinic: BotClinic
) -> None:
    hasty = BotClinic(manifest, running, timeout=(5.0, 0.9), sleep=lambda _seconds: None)
    with pytest.raises(Transient, match="1 Organization units stay pending"):
        hasty.migrate("slow", "plain")
    assert clinic.standing()["slow"][0] is State.PENDING
    assert clinic.standing()["plain"][0] is State.MIGRATED
    clinic.migrate()
    assert clinic.standing()["slow"][0] is State.MIGRATED


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_lease_is_kept_alive_however_long_a_bot_takes(
    clinic: BotClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run would take the type over, and both would deliver it."""
    renewed = []
    monkeypatch.setattr("migration_assets.steps.transforming._ALIVE_SECONDS", 0.3)
    monkeypatch.setattr(Manifest, "renew", lambda _self, lease: renewed.append(lease))
    clinic.migrate("slow")
    assert len(renewed) > 2, "before its bundle alone"


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_server_that_fails_on_every_execution_quarantines_nothing(
    manifest: Manifest, running: Sandbox, clinic: BotClinic
) -> None:
    """Half a day's outage must not become a hundred thousand rows for somebody to look at."""
    patient = BotClinic(manifest, running, sleep=lambda _seconds: None)
    names = [f"clinic {number}" for number in range(9)]
    running.misbehave(Fault(Wrong.STATUS_503, rate=1.0, on="others"))
    with pytest.raises(Transient, match="stay pending, for their Bot could not be asked"):
        patient.migrate(*names)
    assert {each[0] for each in clinic.standing().values()} == {State.PENDING}
    running.behave()
    clinic.migrate()
    assert set(clinic.held()) == set(names)


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("change", [{"bots": False}, {"bot_concurrency": 0}])
def test_a_project_whose_bots_may_not_run_quarantines_nothing(
    manifest: Manifest, running: Sandbox, clinic: BotClinic, change: dict[str, Any]
) -> None:
    patient = BotClinic(manifest, running, sleep=lambda _seconds: None)
    running.change(**change)
    expected = Permanent if "bots" in change else Transient
    with pytest.raises(expected):
        patient.migrate(*(f"clinic {number}" for number in range(6)))
    assert {each[0] for each in clinic.standing().values()} == {State.PENDING}


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_another_deployment_is_another_version_and_remap_finds_what_it_changes(
    clinic: BotClinic,
) -> None:
    clinic.migrate("one", "quarantine me", "throw")
    before = version_now(BY_BOT, clinic.manifest, clinic.client)
    assert clinic.manifest.remapping.count_outdated("organizations", before) == 0
    clinic.deploy(NEW_CODE.replace("case 'throw': throw", "case 'never': throw"))
    run = clinic.run()
    change = version_change(clinic.manifest, clinic.client, run.adoption, BY_BOT)
    assert change.rows == 3
    assert change.resources == {("Organization", "changed"): 1, ("Organization", "created"): 1}
    executed = clinic.executions
    now = version_now(BY_BOT, clinic.manifest, clinic.client)
    assert clinic.manifest.remapping.reopen_outdated("organizations", now) == 3
    migrate(run, BY_BOT)
    assert clinic.executions == executed, "what the comparison asked was asked again"
    assert {each[3] for each in clinic.standing().values()} == {now}
    assert clinic.held()["one"]["active"] is True


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_answers_of_two_deployments_never_mix_in_one_chunk(
    clinic: BotClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = MedplumClient.execute_bot

    def then_deployed(client: MedplumClient, bot_id: str, body: bytes) -> Any:
        said = execute(client, bot_id, body)
        monkeypatch.setattr(MedplumClient, "execute_bot", execute)
        clinic.deploy(NEW_CODE)
        return said

    monkeypatch.setattr(MedplumClient, "execute_bot", then_deployed)
    with pytest.raises(Transient, match="deployed anew while it was asked"):
        clinic.migrate("one", "two")
    assert {each[0] for each in clinic.standing().values()} == {State.PENDING}
    clinic.migrate()
    assert all(each["active"] for each in clinic.held().values())


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_missing_or_empty_bot_stops_the_type_and_nothing_else(clinic: BotClinic) -> None:
    other = replace(BY_BOT, transformer=Bot(identifier="urn:test:bots|elsewhere"))
    with pytest.raises(Permanent, match="holds none that this client may read"):
        clinic.migrate("one", mapping=other)
    clinic.create_bare("urn:test:bots", "elsewhere")
    with pytest.raises(Permanent, match="it has no runtimeVersion"):
        clinic.migrate(mapping=other)
    assert clinic.standing()["one"][0] is State.PENDING


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_rehearsal_asks_the_bot_and_writes_nothing(clinic: BotClinic) -> None:
    clinic.migrate("one", "skip me", phase="rehearse")
    run = clinic.run()
    rows = landed_rows(clinic.manifest, "organizations", Subset())
    report = Rehearsed("Organization")
    for each in Rehearsal(clinic.manifest, clinic.client, run.adoption).rehearse(BY_BOT, rows):
        report.add(each)
    assert report.resources == {("Organization", "created"): 1}
    assert clinic.held() == {}
    assert clinic.executions == 2  # the rehearsing run and this one share what was said
    assert clinic.standing()["one"][0] is State.PENDING


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_without_medplum_it_is_said_that_nobody_asked(clinic: BotClinic) -> None:
    """A rehearsal that showed such rows as fine, or as broken, would be believed."""
    run = replace(clinic.run(), fhir=None)
    clinic.source.put("organizations", "one", name="one")
    land(run, BY_BOT, Window(None, None))
    with pytest.raises(Permanent, match="is said by the Bot urn:test:bots"):
        migrate(run, BY_BOT)
    rows = landed_rows(clinic.manifest, "organizations", Subset())
    rehearsal = Rehearsal(clinic.manifest, None, run.adoption)
    (outlook,) = rehearsal.rehearse(BY_BOT, rows)
    assert (outlook.state, outlook.reason) == (State.PENDING, NOT_ASKED)
    shown = preview(BY_BOT, "one", {"id": "one", "name": "one"})
    assert shown.problems[0].startswith("unanswered: ")


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_a_preview_executes_the_bot_for_the_rows_it_shows(clinic: BotClinic) -> None:
    mapping = bound(BY_BOT, clinic.manifest, clinic.client)
    rows = [{"id": "one", "name": "one"}, {"id": "two", "name": "quarantine me"}, {"name": "?"}]
    ask_rows(mapping, rows)
    shown = [preview(mapping, "", row) for row in rows]
    assert shown[0].resources[0]["name"] == "one"
    assert shown[1].problems == ("unmapped-code at name",)
    assert shown[2].problems[0].startswith("row-")
    assert clinic.executions == 2, "a row that its model refuses is nobody's to ask"
    assert clinic.manifest.bot_answers.remembered([(1, rows[0])]) == {}


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_check_says_whether_the_bot_works(clinic: BotClinic) -> None:
    sound = replace(BY_BOT, examples=({"id": "1", "name": "one"},))
    broken = replace(BY_BOT, examples=({"id": "1", "name": "throw"},))
    invalid = replace(BY_BOT, examples=({"id": "1", "name": "invalid"},))
    absent = replace(BY_BOT, transformer=Bot(identifier="urn:test:bots|elsewhere"))
    found = list(bots(clinic.client, [sound, broken, invalid, BY_BOT, absent]))
    assert [each.verdict for each in found] == ["ok", "failed", "failed", "warning", "failed"]
    assert found[0].told == "urn:test:bots|organizations makes Organization of the example"
    assert "bot-failed at TypeError" in found[1].told


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_whoever_looks_back_uses_what_the_bot_said_and_asks_nobody(clinic: BotClinic) -> None:
    """Comparing a million records must not execute a Bot a million times."""
    put_away = replace(BY_BOT, removal=Removal.INACTIVE)
    clinic.migrate("one", "two", mapping=put_away)
    executed = clinic.executions
    clinic.edit(clinic.held()["two"] | {"name": "edited"})
    found = compare(
        clinic.manifest, clinic.client, put_away, deep=True, clock=lambda: datetime.now(UTC)
    )
    assert [each.path for each in found.examples[Kind.CHANGED]] == ["Organization.name"]
    clinic.source.delete("organizations", "one", at=9)
    clinic.migrate_again(put_away)
    assert clinic.held()["one"]["active"] is False, "a removal is marked in what the row was"
    assert clinic.executions == executed


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_what_a_bot_said_goes_with_the_row_and_with_the_key_that_sealed_it(
    manifest_url: str, running: Sandbox, clock: Clock
) -> None:
    old, new = new_key(), new_key()
    running.reset()
    with closing(Manifest(manifest_url, clock=clock, keys=[old])) as sealed:
        made = BotClinic(sealed, running)
        made.deploy()
        made.migrate("one")
        (unit,) = sealed.landed_units("organizations", limit=9)
        asked = [(unit.id, unit.row)]
        assert sealed.bot_answers.remembered(asked)
    with closing(sqlite3.connect(manifest_url.removeprefix("sqlite:///"))) as file:
        ((stored,),) = file.execute("SELECT answer FROM bot_answers")
    assert stored[:1] == b"\x01"  # sealed, as a payload is
    with closing(Manifest(manifest_url, clock=clock, keys=[new, old])) as sealed:
        rotate(
            sealed.protection.rotation,
            sealed.protection.custody,
            by="a test",
            told=lambda _rows: None,
        )
        assert sealed.bot_answers.remembered(asked) == {}
        sealed.bot_answers.remember("1", {unit.id: (unit.row, {"resourceType": "Organization"})})
        assert sealed.bot_answers.remembered(asked, "1")
        assert sealed.bot_answers.remembered(asked, "2") == {}
        assert sealed.bot_answers.remembered([(unit.id, {"id": "changed"})]) == {}
        clock.now += timedelta(days=400)
        purges, custody = sealed.protection.purges, sealed.protection.custody
        record = custody.begin("purged", "all", "a test", stream="organizations")
        until = to_micros(clock.now)
        assert purges.drop(record, "organizations", settled_before=until, keep_living=False)
        assert sealed.bot_answers.remembered(asked) == {}


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_the_register_names_the_bot_and_executes_nothing(clinic: BotClinic) -> None:
    clinic.migrate("one", phase="rehearse")
    executed = clinic.executions
    mapping = replace(BY_BOT, examples=({"id": "1", "name": "one"},))
    (stream,) = register([mapping], clinic.manifest, None).streams
    assert {each.path: each.disposition for each in stream.fields if each.populated} == {
        "id": "the Bot urn:test:bots|organizations gets it",
        "name": "the Bot urn:test:bots|organizations gets it",
    }
    assert stream.not_mapped == ()
    assert clinic.executions == executed


def test_a_graph_with_such_a_mapping_loads_without_medplum() -> None:
    made = build_definitions(settings=Settings(), mappings={"Organization": BY_BOT})
    assert made.resolve_assets_def(AssetKey(["medplum", "Organization"]))


def test_the_client_executes_bots() -> None:
    """The seam is told by its shape: a renamed method would only be missed in production."""
    assert issubclass(MedplumClient, RunsBots)
