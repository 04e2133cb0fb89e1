"""What a comparison must find, and what it must never call a finding."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent, Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Target
from migration_assets.mapping import Resource
from migration_assets.medplum import Fhir
from migration_assets.reconciliation.asking import PAGE, Asker
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.reconciliation.findings import Kind
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import ORGANIZATIONS, START


class Interrupted:
    """A project in which somebody acts before or after a search; everything else is real."""

    def __init__(self, fhir: Fhir) -> None:
        self.fhir = fhir
        self.pacer = fhir.pacer
        self.before: dict[int, Any] = {}
        self.after: dict[int, Any] = {}
        self.hidden: set[str] = set()
        self.searches = 0

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[Resource]:
        """The search, with what is to happen around the so-manieth."""
        self.searches += 1
        self.before.get(self.searches, int)()
        found = self.fhir.search(resource_type, params)
        self.after.get(self.searches, int)()
        return [each for each in found if each["id"] not in self.hidden]

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """As the project does."""
        return self.fhir.post_bundle(body, entries)

    def transactions_available(self) -> bool:
        """As the project says."""
        return self.fhir.transactions_available()


def test_a_clean_migration_agrees_and_the_evidence_is_kept(on_each: Clinic) -> None:
    clinic = on_each
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


def test_a_resource_that_lost_its_identifier_is_missing_and_said_to_be_there(
    clinic: Clinic,
) -> None:
    """Delivered again it would be a second record of one patient."""
    clinic.people(2)
    held = clinic.held("P1")
    clinic.put({name: each for name, each in held.items() if name != "identifier"})
    (finding,) = clinic.findings(clinic.compare())
    assert (finding.kind, finding.reason, finding.fhir_id) == (
        "missing",
        "identifier-lost",
        held["id"],
    )


def test_a_ghost_does_not_count_as_a_resource(clinic: Clinic) -> None:
    """Contract §3: what was rolled back is still read by id for a day. Only searches count."""
    clinic.people(2)
    ghostly = Interrupted(clinic.client)
    ghostly.hidden = {clinic.held("P1")["id"]}
    comparison = clinic.compare(fhir=ghostly)
    assert clinic.found(comparison) == [("missing", "not-found", "P1")]


def test_a_twin_by_another_writer_is_a_duplicate_by_its_id(clinic: Clinic) -> None:
    clinic.people(3)
    twin = clinic.post(clinic.held("P2"))
    (finding,) = clinic.findings(clinic.compare())
    assert (finding.kind, finding.key, finding.fhir_id) == ("duplicate", "P2", twin)
    assert finding.expected != twin


def test_a_twin_that_outlived_ours_is_told_from_a_missing_resource(clinic: Clinic) -> None:
    clinic.people(2)
    ours = clinic.held("P1")
    twin = clinic.post(ours)
    clinic.send({"request": {"method": "DELETE", "url": f"Patient/{ours['id']}"}})
    (finding,) = clinic.findings(clinic.compare())
    assert (finding.kind, finding.fhir_id, finding.expected) == ("other-id", twin, ours["id"])


def test_what_is_not_on_account_is_unexpected_and_others_systems_are_not_ours(
    on_each: Clinic,
) -> None:
    clinic = on_each
    clinic.people(1)
    other = {"resourceType": "Patient", "identifier": [{"system": "urn:lab", "value": "P9"}]}
    clinic.post(other)
    assert clinic.compare().agrees
    system = identifier_system("Patient")
    stranger = {"resourceType": "Patient", "identifier": [{"system": system, "value": "P9"}]}
    clinic.post(stranger)
    clinic.post(stranger)
    assert clinic.found(clinic.compare()) == [
        ("duplicate", "not-on-account", "P9"),
        ("unexpected", "not-on-account", "P9"),
        ("unexpected", "not-on-account", "P9"),
    ]


def test_what_was_deleted_and_is_there_again_is_found(clinic: Clinic) -> None:
    clinic.people(2)
    body = clinic.held("P1")
    clinic.source.delete("patients", "P1", at=10)
    clinic.migrate()
    assert clinic.compare().agrees
    clinic.post(body)
    assert clinic.found(clinic.compare()) == [("still-found", "another-id", "P1")]


@pytest.mark.parametrize("key", ["a,b", "back\\slash", "a|b", "50% & more?", "zoë 漢", "$x;y"])
def test_identifiers_that_need_escaping_are_found(clinic: Clinic, key: str) -> None:
    """A comma left alone means OR: the resource would be missing, and delivered twice."""
    clinic.source.put("patients", key)
    clinic.people(1)
    assert clinic.compare(deep=True).agrees
    assert clinic.compare(sample=9).agrees  # asked for by identifier
    clinic.delete(key)
    assert clinic.found(clinic.compare()) == [("missing", "not-found", key)]


def test_an_edit_behind_our_back_is_told_by_element_and_never_by_value(clinic: Clinic) -> None:
    clinic.people(3)
    held = clinic.held("P1")
    clinic.put({**held, "name": [{"family": "Secretly"}], "gender": "other"})
    shallow = clinic.compare()
    assert shallow.agrees
    assert shallow.evidence.notes == {"other_version": 1}
    deep = clinic.compare(deep=True)
    assert [(each.path, each.reason) for each in clinic.findings(deep)] == [
        ("Patient.name[0].family", "value"),
        ("Patient.gender", "added"),
    ]
    assert "Secretly" not in repr(deep)


def test_a_new_version_with_the_same_content_is_no_change(clinic: Clinic) -> None:
    """Somebody's edit and its revert leave nothing to repair."""
    clinic.people(1)
    held = clinic.held("P0")
    clinic.put({**held, "gender": "other"})
    clinic.put(held)
    comparison = clinic.compare(deep=True)
    assert comparison.agrees
    assert comparison.evidence.notes == {"other_version": 1}


def test_an_edit_of_what_the_row_no_longer_tells_is_still_found_by_its_version(
    clinic: Clinic,
) -> None:
    """The row changed meanwhile and waits: what was delivered cannot be made from it again."""
    clinic.people(2)
    clinic.put({**clinic.held("P1"), "gender": "other"})
    clinic.source.put("patients", "P1", at=5, family="Later")
    clinic.source.put("patients", "P0", at=5, family="Later")
    clinic.land()
    (finding,) = clinic.findings(clinic.compare(deep=True))
    assert (finding.kind, finding.key, finding.path, finding.reason) == (
        "changed",
        "P1",
        "",
        "version",
    )


def test_resources_written_while_comparing_are_no_findings(clinic: Clinic) -> None:
    """A run delivers, changes and deletes between our searches and our readings."""
    clinic.people(20)
    busy = Interrupted(clinic.client)

    def work() -> None:
        for n in range(0, 20, 3):
            clinic.source.put("patients", f"P{n}", at=20, family="Changed")
        clinic.source.delete("patients", "P1", at=20)
        clinic.source.put("patients", "P99", at=20)
        clinic.migrate()

    busy.after[1] = work
    assert clinic.compare(fhir=busy, deep=True).agrees
    clinic.delete("P2")
    later = Interrupted(clinic.client)

    def delete() -> None:
        clinic.source.delete("patients", "P4", at=30)
        clinic.migrate()

    later.before[2] = delete
    assert clinic.found(clinic.compare(fhir=later)) == [("missing", "not-found", "P2")]


def test_what_is_written_between_our_search_and_our_reading_is_looked_at_again(
    clinic: Clinic,
) -> None:
    """The search was too early for it, and the account says already that it is there."""
    clinic.people(3)
    clinic.delete("P2")
    (held,) = [e for e in clinic.account.reconciliations.on_account("Patient") if e.key == "P2"]
    busy = Interrupted(clinic.client)

    def redeliver() -> None:
        clinic.account.reconciliations.reopen_missing([(held.token, str(held.fhir_id))])
        clinic.migrate()

    busy.after[2] = redeliver
    assert clinic.compare(fhir=busy).agrees


def test_a_write_that_is_under_way_or_was_cut_off_is_unsettled_and_no_finding(
    clinic: Clinic,
) -> None:
    clinic.people(2)
    name = f"Patient|{identifier_system('Patient')}|P1"
    unit = clinic.account.reconciliations.held([name])[name].unit_id
    clinic.account.intend([(unit, Target("Patient", name, sent=frozenset({"deletion"})))])
    clinic.delete("P1")
    comparison = clinic.compare()
    assert comparison.agrees
    assert comparison.evidence.notes == {"unsettled": 1}


def test_throttling_and_faults_in_the_middle_change_nothing_but_the_time(
    clinic: Clinic, sandbox: Sandbox
) -> None:
    clinic.people(30)
    clinic.delete("P7")
    sandbox.misbehave(
        Fault(Wrong.TOO_MANY_REQUESTS, at=(1, 2, 3, 4, 5, 6), wait_seconds=0.01),
        Fault(Wrong.STATUS_503, at=(8,)),
        Fault(Wrong.TRUNCATE, at=(10,)),
    )
    asker = Asker(clinic.client, sleep=lambda _seconds: None)
    comparison = clinic.compare(fhir=asker)
    assert clinic.found(comparison) == [("missing", "not-found", "P7")]
    assert sandbox.stats()["faults"]


def test_an_outage_leaves_evidence_that_says_cut_off(clinic: Clinic, sandbox: Sandbox) -> None:
    """Half a comparison that looked whole would be worse than none."""
    clinic.people(2)
    sandbox.misbehave(Fault(Wrong.STATUS_503))
    asker = Asker(clinic.client, sleep=lambda _seconds: None, patience=0.0)
    with pytest.raises(Transient):
        clinic.compare(fhir=asker)
    (kept,) = clinic.account.reconciliations.latest()
    assert kept.finished_at is None
    assert not kept.agrees


def test_more_than_a_page_is_walked_to_the_end_within_the_points(
    clinic: Clinic, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of 40 in place of 1,000; many share an instant, as the sandbox is fast."""
    clinic.people(230)
    monkeypatch.setattr("migration_assets.reconciliation.asking.PAGE", 40)
    clinic.delete("P100")
    comparison = clinic.compare()
    assert clinic.found(comparison) == [("missing", "not-found", "P100")]
    assert (comparison.evidence.expected, comparison.evidence.found) == (230, 229)
    assert PAGE == 1_000


def test_an_instant_that_fills_pages_is_walked_by_offset(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By time alone the walk would ask for the same page for ever."""
    clinic.people(30)
    monkeypatch.setattr("migration_assets.reconciliation.asking.PAGE", 4)
    one_instant = OneInstant(clinic.client)
    pages = list(Asker(one_instant).everything("Patient"))
    keys = {each["identifier"][0]["value"] for page in pages for each in page}
    assert keys == {f"P{n}" for n in range(30)}


class OneInstant(Interrupted):
    """A project whose resources were all written in one millisecond."""

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[Resource]:
        """The search, in order of ids, as no time tells them apart."""
        asked = {name: each for name, each in params.items() if name != "_lastUpdated"}
        found = super().search(resource_type, {**asked, "_sort": "_id"})
        return [{**each, "meta": {**each["meta"], "lastUpdated": "2026-01-01"}} for each in found]


def test_a_comparison_costs_what_it_says(clinic: Clinic, sandbox: Sandbox) -> None:
    clinic.people(200)
    clinic.delete("P3")
    before = sandbox.stats()["points"]
    comparison = clinic.compare(deep=True)
    assert sandbox.stats()["points"] - before == comparison.evidence.points == 60


def test_a_sample_draws_the_same_again_and_another_seed_another(clinic: Clinic) -> None:
    clinic.people(40)
    for n in range(40):
        clinic.delete(f"P{n}")
    first, again, other = (clinic.compare(sample=5, seed=seed) for seed in (1, 1, 2))
    assert clinic.found(first) == clinic.found(again) != clinic.found(other)
    assert first[Kind.MISSING] == 5
    assert first.evidence.scope == {"sample": 5, "seed": 1}


def test_a_cohort_is_told_by_period_stream_and_organization(on_each: Clinic) -> None:
    clinic = on_each
    for key in ("O1", "O2"):
        clinic.source.put("organizations", key)
    clinic.source.put("patients", "A", at=1, organization="O1")
    clinic.source.put("patients", "B", at=2, organization="O2")
    clinic.source.put("patients", "C", at=3, organization="O1")
    clinic.migrate()
    for key in "ABC":
        clinic.delete(key)

    def missing(**cohort: Any) -> list[str]:
        comparison = clinic.compare(cohort=Cohort(**cohort))
        return [key for _kind, _reason, key in clinic.found(comparison)]

    since = START + timedelta(seconds=2)
    assert missing(since=since) == ["B", "C"]
    assert missing(until=since) == ["A"]
    assert missing(organization="O1") == ["A", "C"]
    assert missing(organization="O1", since=since) == ["C"]
    assert missing(stream="elsewhere") == []
    assert missing(stream="patients") == ["A", "B", "C"]
    assert clinic.compare(ORGANIZATIONS, cohort=Cohort(organization="O2")).evidence.found == 1


def test_a_type_that_a_mapping_does_not_make_is_refused(clinic: Clinic) -> None:
    with pytest.raises(Permanent, match="makes no Device"):
        clinic.compare(cohort=Cohort(resource_type="Device"))
