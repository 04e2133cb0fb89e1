"""Marks of removed, archived and merged rows: valid FHIR, in every type that can carry them."""

import pytest

from migration_assets.fhir.retirement import merged, put_away, retired, supports
from migration_assets.fhir.validation import problems
from migration_assets.mapping import Quarantined, Removal, Resource
from migration_assets.mappings import discover
from migration_assets.steps.preparation import preview

MADE: dict[str, list[Resource]] = {
    name: [
        resource
        for example in mapping.examples
        for resource in preview(mapping, "", example).resources
    ]
    for name, mapping in discover().items()
}
MARKED = [
    (each, removal)
    for found in MADE.values()
    for each in found
    for removal in (Removal.INACTIVE, Removal.ENTERED_IN_ERROR)
    if supports(str(each["resourceType"]), removal)
]


@pytest.mark.parametrize(("resource", "removal"), MARKED)
def test_a_marked_resource_is_still_valid(resource: Resource, removal: Removal) -> None:
    """con-5 forbids a clinicalStatus beside entered-in-error: Medplum would refuse the mark."""
    (marked,) = retired([resource], removal)
    assert problems(marked) == ()
    assert marked != resource or resource.get("active") is False


def test_every_type_of_ours_can_be_marked_in_one_way() -> None:
    kinds = {str(each["resourceType"]) for found in MADE.values() for each in found}
    ways = (Removal.INACTIVE, Removal.ENTERED_IN_ERROR)
    assert all(any(supports(kind, way) for way in ways) for kind in kinds)


def test_a_type_without_the_element_is_not_marked_by_guess() -> None:
    with pytest.raises(Quarantined, match="removal-cannot-be-marked"):
        retired([{"resourceType": "Observation"}], Removal.INACTIVE)


def test_a_condition_entered_in_error_says_so_in_its_own_element() -> None:
    concept = {"coding": [{"code": "active"}]}
    condition = MADE["Condition"][0] | {"clinicalStatus": concept}
    (marked,) = retired([condition], Removal.ENTERED_IN_ERROR)
    assert marked["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "clinicalStatus" not in marked
    assert "clinicalStatus" in condition, "the mapping's own resource is left as it is"


def test_a_merged_patient_names_who_stands_for_it_and_is_no_longer_active() -> None:
    """FHIR R4, Patient.link replaced-by: a search for active patients finds one person, not two."""
    patient = MADE["Patient"][0] | {
        "link": [{"other": {"reference": "Patient/x"}, "type": "seealso"}]
    }
    (marked,) = merged([patient], "P 9")
    assert marked["active"] is False
    assert [each["type"] for each in marked["link"]] == ["seealso", "replaced-by"]
    assert marked["link"][1]["other"]["reference"].startswith("Patient?identifier=")
    assert len(patient["link"]) == 1


def test_an_archived_row_is_inactive_where_its_type_can_say_so_and_else_untouched() -> None:
    patient, observation = MADE["Patient"][0], MADE["Observation"][0]
    assert put_away([patient, observation]) == ({**patient, "active": False}, observation)
