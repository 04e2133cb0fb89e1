"""Whether a reference that leads astray is found: above all one to another patient."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import reference
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.reconciliation.findings import ReferenceFindings
from migration_assets.reconciliation.referenced import check_references
from migration_assets_tests.reconciliation.clinic import Clinic, uuid_of
from migration_assets_tests.scripted import ORGANIZATIONS, PATIENTS, PRACTICES, START


class Visit(Row):
    """A visit of a patient, perhaps at an organization."""

    id: str
    patient: str
    organization: str | None = None


def encounter(row: Visit) -> Resource:
    """A mapping with two references, one in a list."""
    made: Resource = {
        "resourceType": "Encounter",
        "identifier": [{"system": identifier_system("Encounter"), "value": row.id}],
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": reference("Patient", row.patient),
    }
    if row.organization:
        made["extension"] = [
            {
                "url": "http://example.org/hosts",
                "valueReference": reference("Organization", row.organization),
            }
        ]
    return made


ENCOUNTERS = Mapping(
    stream="visits",
    row=Visit,
    resource_type="Encounter",
    build=encounter,
    version="1.0.0",
    step=Step.HISTORY,
    after=("Patient", "Organization"),
)


def visits(clinic: Clinic, number: int = 3) -> None:
    """So many patients of one organization, and a visit of each."""
    clinic.mappings = (ORGANIZATIONS, PATIENTS, ENCOUNTERS)
    clinic.source.rows["visits"] = []
    clinic.source.put("organizations", "O1")
    for n in range(number):
        clinic.source.put("patients", f"P{n}", organization="O1")
        clinic.source.put("visits", f"V{n}", patient=f"P{n}", organization="O1")
    clinic.migrate()


def check(clinic: Clinic, mapping: Mapping[Any] = ENCOUNTERS) -> ReferenceFindings:
    return check_references(clinic.account, clinic.client, mapping, clock=clinic.clock)


def told(clinic: Clinic, findings: ReferenceFindings) -> list[tuple[str, str, str, str]]:
    """Kind, reason, key and path of every finding."""
    return [(e.kind, e.reason, e.key, e.path) for e in clinic.findings(findings)]


def test_what_was_delivered_leads_where_its_row_says(on_each: Clinic, sandbox: Sandbox) -> None:
    """Checked by two searches: the type, and each different target once."""
    visits(on_each)
    before = sandbox.stats()["points"]
    findings = check(on_each)
    assert findings.agrees
    assert findings.evidence.notes == {"references": 6}
    assert sandbox.stats()["points"] - before == findings.evidence.points == 60


def test_a_reference_to_another_patient_is_found_and_named_so(clinic: Clinic) -> None:
    visits(clinic)
    visit, other = clinic.held("V1", "Encounter"), clinic.held("P2")
    clinic.put({**visit, "subject": {"reference": f"Patient/{other['id']}"}})
    (finding,) = clinic.findings(check(clinic))
    assert (finding.kind, finding.reason) == ("reference-wrong", "another-patient")
    assert (finding.key, finding.path) == ("V1", "Encounter.subject")
    assert finding.expected == f"Patient/{clinic.held('P1')['id']}"
    assert finding.found == f"Patient/{other['id']}"


def test_a_reference_in_a_list_that_was_taken_out_is_missing(clinic: Clinic) -> None:
    visits(clinic)
    visit = clinic.held("V0", "Encounter")
    clinic.put({name: each for name, each in visit.items() if name != "extension"})
    assert told(clinic, check(clinic)) == [
        ("reference-missing", "no-reference", "V0", "Encounter.extension[0].valueReference")
    ]


def test_a_reference_to_what_was_deleted_behind_our_back_dangles(clinic: Clinic) -> None:
    visits(clinic)
    clinic.delete("P1")
    assert told(clinic, check(clinic)) == [
        ("reference-dangling", "not-found", "V1", "Encounter.subject")
    ]


def test_a_reference_to_what_the_source_deleted_dangles_for_that_reason(clinic: Clinic) -> None:
    visits(clinic)
    clinic.source.delete("patients", "P1", at=9)
    clinic.migrate()
    assert told(clinic, check(clinic)) == [
        ("reference-dangling", "deleted", "V1", "Encounter.subject")
    ]


def test_a_reference_to_a_twin_is_told_from_one_to_another_patient(clinic: Clinic) -> None:
    visits(clinic)
    twin = clinic.post(clinic.held("P1"))
    visit = clinic.held("V1", "Encounter")
    clinic.put({**visit, "subject": {"reference": f"Patient/{twin}"}})
    assert told(clinic, check(clinic)) == [("reference-wrong", "twin", "V1", "Encounter.subject")]


def test_a_reference_to_what_somebody_else_writes_is_checked_by_identifier(
    clinic: Clinic,
) -> None:
    """No row of ours is the organization: Medplum alone says who carries its identifier."""
    system = identifier_system("Organization")
    body = {"resourceType": "Organization", "identifier": [{"system": system, "value": "X"}]}
    theirs = clinic.post({**body, "name": "theirs"})
    clinic.source.put("patients", "P0", organization="X")
    clinic.migrate()
    assert check(clinic, PATIENTS).agrees
    reference = {"reference": f"Organization/{uuid_of(7)}"}
    clinic.put({**clinic.held("P0"), "managingOrganization": reference})
    (finding,) = clinic.findings(check(clinic, PATIENTS))
    assert (finding.kind, finding.reason) == ("reference-wrong", "another-organization")
    clinic.send({"request": {"method": "DELETE", "url": f"Organization/{theirs}"}})
    assert told(clinic, check(clinic, PATIENTS)) == [
        ("reference-dangling", "no-target", "P0", "Patient.managingOrganization")
    ]


def test_a_back_reference_counts_once_it_was_delivered(clinic: Clinic) -> None:
    """The practice goes out without its founder, and is completed when the founder arrives."""
    clinic.mappings = (PRACTICES, PATIENTS)
    clinic.source.put("organizations", "O1", parent="P1")
    clinic.migrate()
    assert check(clinic, PRACTICES).evidence.notes == {}
    assert clinic.compare(PRACTICES, deep=True).agrees
    clinic.source.put("patients", "P1")
    clinic.migrate()
    clinic.migrate()
    assert check(clinic, PRACTICES).evidence.notes == {"references": 1}
    practice = clinic.held("O1", "Organization")
    stranger = {"valueReference": {"reference": f"Patient/{uuid_of(3)}"}}
    extensions = [practice["extension"][0], {**practice["extension"][1], **stranger}]
    clinic.put({**practice, "extension": extensions})
    assert told(clinic, check(clinic, PRACTICES)) == [
        (
            "reference-wrong",
            "another-patient",
            "O1",
            "Organization.extension[1].valueReference",
        )
    ]


def test_a_merged_patient_must_lead_to_the_one_that_stands_for_it(clinic: Clinic) -> None:
    clinic.people(3)
    row = clinic.source.drop("patients", "P1")
    changed = START + timedelta(seconds=9)
    merged_row = replace(row, merged_into="P2", changed_at=changed)
    clinic.source.rows["patients"].append(merged_row)
    clinic.migrate()
    assert check(clinic, PATIENTS).evidence.notes == {"references": 1}
    assert clinic.compare(deep=True).agrees
    merged = clinic.held("P1")
    astray = {"other": {"reference": f"Patient/{clinic.held('P0')['id']}"}, "type": "replaced-by"}
    clinic.put({**merged, "link": [astray]})
    assert told(clinic, check(clinic, PATIENTS)) == [
        ("reference-wrong", "another-patient", "P1", "Patient.link[0].other")
    ]


@pytest.mark.parametrize("changed", [False, True])
def test_what_was_delivered_before_there_was_an_inventory_is_told_from_its_row(
    clinic: Clinic, tmp_path: Any, *, changed: bool
) -> None:
    """An account half way through, brought up to this version. A row that changed tells nothing."""
    visits(clinic)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'manifest.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM delivered_references"))
    engine.dispose()
    visit, other = clinic.held("V1", "Encounter"), clinic.held("P2")
    clinic.put({**visit, "subject": {"reference": f"Patient/{other['id']}"}})
    if changed:
        clinic.source.put("visits", "V1", at=9, patient="P0", organization="O1")
        clinic.land()
    findings = check(clinic)
    if changed:
        assert findings.agrees
        assert findings.evidence.notes == {"references": 4, "untold": 1}
    else:
        assert told(clinic, findings) == [
            ("reference-wrong", "another-patient", "V1", "Encounter.subject")
        ]
