"""Freshness: a quiet source that is asked is fresh, one that nobody asks is not."""

import json
from datetime import timedelta

import dagster as dg
import pytest
import yaml

from migration_assets.defs.freshness import FRESH
from migration_assets.defs.keys import asset_key
from migration_assets_tests.defs.small_clinic import PACKAGE, SmallClinic, commands, numbers

HOURS = timedelta(hours=2)


def test_a_quiet_source_is_fresh_as_long_as_it_is_asked(clinic: SmallClinic) -> None:
    """The mark stays where it was: by it, or by the last materialization, all would be late."""
    clinic.run()
    assert clinic.check("Patient", FRESH).passed
    clinic.ahead = HOURS
    late = clinic.check("Patient", FRESH)
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert numbers(late.metadata)["age_seconds"] >= HOURS.total_seconds()
    assert "dagster sensor start legacy_changes" in str(late.metadata["recovery"].value)
    assert not clinic.tick("legacy_changes").run_requests, "nothing new"
    fresh = clinic.check("Patient", FRESH)
    assert fresh.passed
    assert numbers(fresh.metadata)["mark_age_seconds"] >= HOURS.total_seconds()


def test_a_stream_that_only_the_nights_read_is_late_by_its_own_measure(clinic: SmallClinic) -> None:
    """By one bound for all, it is red every day, or the others are late without a word."""
    text = (PACKAGE / "demo" / "clinic.yaml").read_text()
    described = yaml.safe_load(text)
    streams = {each["name"]: each for each in described["streams"]}
    streams["organizations"]["fresh_seconds"] = 26 * 3600
    (clinic.folder / "source.yaml").write_text(yaml.safe_dump(described))
    clinic.setting("MIGRATION_SOURCE", clinic.folder / "source.yaml")
    clinic.run()
    clinic.ahead = HOURS
    nightly, other = clinic.check("Organization", FRESH), clinic.check("Patient", FRESH)
    assert (nightly.passed, other.passed) == (True, False)
    assert numbers(nightly.metadata).get("recovery") == "none needed"
    assert numbers(other.metadata)["allowed_seconds"] == 3600
    clinic.ahead = timedelta(hours=27)
    assert not clinic.check("Organization", FRESH).passed


def test_the_sensor_is_on_by_itself_and_opens_nothing_where_nothing_is_set(
    clinic: SmallClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alarm with a switch of its own is off where the following is; an empty home stays so."""
    sensor = clinic.definitions.resolve_sensor_def("freshness")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    monkeypatch.delenv("MIGRATION_SOURCE")
    clinic.setting("MIGRATION_MANIFEST_URL", f"sqlite:///{clinic.folder / 'never.db'}")
    context = dg.build_sensor_context(
        instance=clinic.instance, resources={"connections": clinic.connections}
    )
    said = clinic.definitions.resolve_sensor_def("freshness")(context)
    assert isinstance(said, dg.SkipReason)
    assert not (clinic.folder / "never.db").exists()


def test_a_backfill_of_what_was_pulled_before_makes_nothing_fresh(clinic: SmallClinic) -> None:
    clinic.ahead = -HOURS
    clinic.run()
    clinic.ahead = timedelta(0)
    clinic.run()
    assert not clinic.check("Patient", FRESH).passed


def test_the_command_that_is_named_reads_what_was_missed(clinic: SmallClinic) -> None:
    clinic.ahead = -HOURS
    clinic.run()
    clinic.ahead = timedelta(0)
    (command,) = commands(clinic.check("Patient", FRESH))
    clinic.say(command)
    assert clinic.check("Patient", FRESH).passed


def test_news_that_nobody_pulls_are_late_although_the_source_is_asked(clinic: SmallClinic) -> None:
    """The sensor found something and its run fails, say: to have asked is not to have read."""
    clinic.run()
    clinic.patient("P4")
    clinic.ahead = HOURS
    assert clinic.tick("legacy_changes").run_requests
    assert not clinic.check("Patient", FRESH).passed
    clinic.run(incremental=True)
    assert clinic.connections.clock() is not None
    clinic.ahead = timedelta(0)
    assert clinic.check("Patient", FRESH).passed


def test_a_paused_stream_is_late_for_its_reasons_and_fresh_again_once_resumed(
    clinic: SmallClinic,
) -> None:
    clinic.run()
    with clinic.connections.manifest() as manifest:
        manifest.pauses.pause("patients", run_id=1, failed=7, seen=9, reasons={"unmapped-code": 7})
    clinic.ahead = HOURS
    late = clinic.check("Patient", FRESH)
    assert numbers(late.metadata)["reason/unmapped-code"] == 7
    (command,) = commands(late)
    clinic.say(command)
    clinic.tick("legacy_changes")
    assert clinic.check("Patient", FRESH).passed


def test_the_sensor_writes_a_verdict_down_only_when_it_changes(clinic: SmallClinic) -> None:
    """Every five minutes an event per type is a million rows a year of the event log."""
    first = clinic.tick("freshness")
    assert len(first.asset_events) == 2
    assert json.loads(str(first.cursor)) == dict.fromkeys(clinic.types, "nothing claimed")
    clinic.run()
    fresh = clinic.tick("freshness", first.cursor)
    assert len(fresh.asset_events) == 2
    assert not clinic.tick("freshness", fresh.cursor).asset_events
    clinic.ahead = HOURS
    late = clinic.tick("freshness", fresh.cursor)
    assert "Late: Organization, Patient" in str(late.skip_reason)
    assert not clinic.tick("freshness", late.cursor).asset_events
    key = dg.AssetCheckKey(asset_key("Patient"), FRESH)
    (record,) = clinic.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    evaluation = record.event.dagster_event
    assert evaluation is not None
    assert evaluation.asset_check_evaluation_data.passed is False


@pytest.mark.parametrize("phase", ["write", "retired"])
def test_of_a_type_that_medplum_owns_nothing_is_claimed(clinic: SmallClinic, phase: str) -> None:
    clinic.run()
    clinic.phases(Patient=phase)
    clinic.ahead = HOURS
    check = clinic.check("Patient", FRESH)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
