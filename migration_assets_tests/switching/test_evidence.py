"""Evidence: what the gates are told is what the account, Medplum and the legacy API say now."""

from datetime import timedelta
from typing import Any

from migration_assets.adoption import Phase, read_adoption
from migration_assets.adoption.gates import Bounds, gate
from migration_assets.legacy import load_description
from migration_assets.reconciliation.referenced import check_references
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


def _shut(clinic: Clinic, phase: str, **others: Any) -> list[str]:
    found = evidence(_witnesses(clinic, phase, **others), PATIENTS)
    return [p.said for p in gate(Phase(phase), "Patient", found, BOUNDS) if not p.holds]


def _later(clinic: Clinic, **time: float) -> None:
    clinic.clock.now += timedelta(**time)


def test_the_way_out_of_backfill_opens_with_a_clean_comparison_and_shuts_with_the_next_write(
    clinic: Clinic,
) -> None:
    clinic.people(3)
    assert _shut(clinic, "backfill") == ["Patient was never compared as a whole"]
    _later(clinic, minutes=1)
    clinic.compare(sample=2)  # a part proves nothing of the whole
    assert len(_shut(clinic, "backfill")) == 1
    clinic.compare()
    assert _shut(clinic, "backfill") == []
    _later(clinic, minutes=1)
    clinic.people(4)
    (said,) = _shut(clinic, "backfill")
    assert "older than the last write" in said
    _later(clinic, minutes=1)
    clinic.compare()
    assert _shut(clinic, "backfill") == []
    clinic.delete("P1")
    clinic.compare()
    (said,) = _shut(clinic, "backfill")
    assert "1 findings" in said


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
    assert "1 rows were edited" in said
    whole = source.streams[0].model_copy(update={"cursor": None})
    asked["source"] = source.model_copy(update={"streams": (whole,)})
    assert "1 rows were edited" in _shut(clinic, "write", **asked)[0]
    assert clinic.account.balances() == before
    (said,) = _shut(clinic, "write")
    assert "was not asked" in said
