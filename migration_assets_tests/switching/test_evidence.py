"""Evidence: what the gates are told is what the account, Medplum and the legacy API say now."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.adoption.gates import Bounds, Point, gate
from migration_assets.legacy import load_description
from migration_assets.pipeline import land, migrate
from migration_assets.reconciliation.referenced import check_references
from migration_assets.run import Window
from migration_assets.steps.polling import note_current
from migration_assets.switching.evidence import Witnesses, evidence
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import PATIENTS, START

BOUNDS = Bounds(days=7)


def _witnesses(clinic: Clinic, phase: str, **others: Any) -> Witnesses:
    return Witnesses(
        manifest=clinic.account,
        adoption=read_adoption(f'Patient = "{phase}"'),
        clock=clinic.clock,
        bounds=BOUNDS,
        fhir=lambda: clinic.client,
        **others,
    )


def _points(witnesses: Witnesses) -> tuple[Point, ...]:
    found = evidence(witnesses, PATIENTS)
    return gate(witnesses.adoption.standing("Patient").phase, "Patient", found, BOUNDS)


def _shut(clinic: Clinic, phase: str, **others: Any) -> list[str]:
    return [p.said for p in _points(_witnesses(clinic, phase, **others)) if not p.holds]


def _later(clinic: Clinic, **time: float) -> None:
    clinic.clock.now += timedelta(**time)


def test_the_way_out_of_backfill_opens_in_a_clinic_that_never_stops_writing(
    clinic: Clinic,
) -> None:
    clinic.people(3)
    assert _shut(clinic, "backfill") == ["Patient was never compared as a whole"]
    _later(clinic, minutes=20)
    clinic.compare(sample=2)  # a part proves nothing of the whole
    assert len(_shut(clinic, "backfill")) == 1
    clinic.compare()
    assert _shut(clinic, "backfill") == []
    _later(clinic, minutes=30)
    clinic.people(4)
    found = evidence(_witnesses(clinic, "backfill"), PATIENTS)
    (later,) = (each.later for each in found.comparisons)
    assert later is not None
    assert (later.written, later.findings, later.unresolved, later.unproved) == (1, 0, 0, 0)
    assert _shut(clinic, "backfill") == []
    unasked = _witnesses(clinic, "backfill", looks_again=False)
    (point,) = (p for p in _points(unasked) if not p.holds)
    assert "older than the last write" in point.said
    clinic.delete("P1")
    clinic.compare()
    (said,) = _shut(clinic, "backfill")
    assert "1 finding" in said


@pytest.mark.parametrize("harm", ["gone", "doubled", "astray", "unconfirmed", "too old", "deleted"])
def test_a_write_after_the_comparison_that_is_not_proved_keeps_the_type_in_backfill(
    clinic: Clinic, harm: str
) -> None:
    """Medplum answered that it took it. That is no proof that it is there, once, as delivered."""
    for key in ("O1", "O2"):
        clinic.source.put("organizations", key)
    clinic.people(2, organization="O1")
    _later(clinic, minutes=1)
    clinic.compare()
    check_references(clinic.account, clinic.client, PATIENTS, clock=clinic.clock)
    _later(clinic, minutes=30)
    clinic.source.put("patients", "LATE", organization="O1")
    if harm == "deleted":
        clinic.source.delete("patients", "P1", at=60)
        before = clinic.held("P1")
    clinic.migrate()
    assert _shut(clinic, "backfill") == []
    match harm:
        case "gone":
            clinic.delete("LATE")
        case "doubled":
            clinic.post(clinic.held("LATE"))
        case "astray":
            other = clinic.held("O2", "Organization")["id"]
            wrong = {"managingOrganization": {"reference": f"Organization/{other}"}}
            clinic.put(clinic.held("LATE") | wrong)
        case "unconfirmed":
            name = clinic.account.remapping.on_account("patients", ["LATE"])["LATE"].unit
            (target,) = name.targets
            clinic.account.intend([(name.id, replace(target, sent=frozenset({"x"})))])
        case "too old":
            _later(clinic, days=8)
        case "deleted":
            clinic.post(before)  # somebody brings back what the clinic deleted
    (said,) = _shut(clinic, "backfill")
    told = {
        "gone": "1 finding", "doubled": "1 finding", "astray": "1 about references",
        "unconfirmed": "1 unproved", "too old": "7 days old", "deleted": "1 finding",
    }  # fmt: skip
    assert told[harm] in said


def test_a_reference_that_leads_astray_keeps_the_type_in_backfill(clinic: Clinic) -> None:
    for key in ("O1", "O2"):
        clinic.source.put("organizations", key)
    clinic.people(1, organization="O1")
    held = clinic.held("P0")
    other = clinic.held("O2", "Organization")["id"]
    clinic.put({**held, "managingOrganization": {"reference": f"Organization/{other}"}})
    _later(clinic, minutes=1)
    check_references(clinic.account, clinic.client, PATIENTS, clock=clinic.clock)
    clinic.compare()
    (said,) = _shut(clinic, "backfill")
    assert "1 about references" in said


def test_the_way_out_of_read_opens_after_quiet_days_that_were_watched(clinic: Clinic) -> None:
    clinic.people(2)
    moved = clinic.account.switching.begin({"Patient": "backfill"}, "read", by="x", evidence={})
    clinic.account.switching.applied(moved)
    assert len(_shut(clinic, "read")) == 3
    for _time in range(7 * 24 + 1):
        note_current(clinic.account, PATIENTS.stream, clinic.clock.now)
        _later(clinic, hours=1)
    clinic.compare()
    assert _shut(clinic, "read") == []
    _later(clinic, minutes=90)
    (said,) = _shut(clinic, "read")
    assert "lag is 9,000 s" in said
    note_current(clinic.account, PATIENTS.stream, clinic.clock.now)
    (said,) = _shut(clinic, "read")
    assert "9,000 s at worst" in said


def test_the_way_out_of_write_asks_the_legacy_system_and_lands_nothing(clinic: Clinic) -> None:
    """Whoever still writes there after the flip would lose it with the system."""
    clinic.people(2)
    before = clinic.account.balances()
    moved = clinic.account.switching.begin({"Patient": "read"}, "write", by="x", evidence={})
    clinic.account.switching.applied(moved)
    _later(clinic, days=8)
    source = load_description(
        "name: x\nbase_url: http://127.0.0.1:9\nauth: {type: none}\n"
        "defaults: {path: '{stream}', select: rows, id: id, pager: {type: none}}\n"
        "streams: [{name: patients, cursor: {field: updated_at, param: since}}]\n"
    )
    asked = {"puller": lambda: clinic.source, "source": source}
    assert _shut(clinic, "write", **asked) == []
    seconds = int((clinic.clock.now - timedelta(days=1) - START).total_seconds())
    clinic.source.put("patients", "P1", at=seconds, family="Edited")
    (said,) = _shut(clinic, "write", **asked)
    assert "1 row edited" in said
    whole = source.streams[0].model_copy(update={"cursor": None})
    asked["source"] = source.model_copy(update={"streams": (whole,)})
    assert "1 row edited" in _shut(clinic, "write", **asked)[0]
    assert clinic.account.balances() == before
    (said,) = _shut(clinic, "write")
    assert "was not asked" in said


def test_what_was_never_read_is_missed_by_no_balance_and_shuts_the_way_out_of_backfill(
    clinic: Clinic,
) -> None:
    """One month of two was materialized, and all of it arrived: the type would be flipped."""
    bounds = replace(BOUNDS, windows=lambda _now: ["2026-10-01", "2026-11-01"])
    clinic.source.put("patients", "P1")
    run = clinic.land()
    land(run, PATIENTS, Window(None, None, partition="2026-11-01"))
    migrate(run, PATIENTS)
    clinic.compare()
    witnesses = replace(_witnesses(clinic, "backfill"), bounds=bounds)
    shut = [each for each in _points(witnesses) if not each.holds]
    assert [each.said for each in shut] == ["1 window of the source was never read to its end"]
    assert "`migration sweep Patient`" in shut[0].mend
    land(run, PATIENTS, Window(None, None, partition="2026-10-01"))
    migrate(run, PATIENTS)
    clinic.compare()
    assert all(each.holds for each in _points(witnesses))
