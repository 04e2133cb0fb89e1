"""What a comparison must find, and what it must never call a finding."""

from migration_assets.reconciliation.findings import Kind
from migration_assets_tests.reconciliation.clinic import Clinic


def test_a_clean_migration_agrees_and_the_evidence_is_kept(clinic: Clinic) -> None:
    clinic.people(5)
    comparison = clinic.compare(deep=True)
    assert comparison.agrees
    assert clinic.found(comparison) == []
    (kept,) = clinic.account.reconciliations.latest()
    assert kept == comparison.evidence
    assert (kept.expected, kept.found, kept.searches, kept.points) == (5, 5, 1, 20)
    assert kept.query == (
        "Patient?identifier=http://your-source-system.com/patientId|&_sort=_lastUpdated,_id"
    )
    assert kept.mapping_version == "1.0.0"
    assert kept.finished_at is not None


def test_a_resource_deleted_behind_our_back_is_missing(clinic: Clinic) -> None:
    clinic.people(3)
    clinic.delete("P1")
    comparison = clinic.compare()
    assert clinic.found(comparison) == [("missing", "not-found", "P1")]
    assert comparison[Kind.MISSING] == 1
    assert not comparison.agrees
