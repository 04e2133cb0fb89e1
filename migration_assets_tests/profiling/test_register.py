"""The register says what every field comes to, as the mapping does it, not as somebody wrote it."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.demo.population import generate
from migration_assets.fhir.identifiers import identifier
from migration_assets.manifest import Manifest, Settlement, State
from migration_assets.mapping import LeftOut, Mapping, Quarantined, Resource, Review, Row
from migration_assets.mappings import discover
from migration_assets.profiling.evidence import traces
from migration_assets.profiling.places import ABSENT, value_at, with_value, without
from migration_assets.profiling.population import populated_paths
from migration_assets.profiling.register import (
    CONTRADICTED,
    NOT_MAPPED,
    FieldEntry,
    Register,
    register,
)
from migration_assets.profiling.register_page import as_json_value, as_markdown, register_page
from migration_assets.profiling.row_models import model_fields
from migration_assets_tests.manifest.rows import PulledRow
from migration_assets_tests.profiling.landed import NOW, land, land_every_nasty_row

MAPPINGS = discover()
CANARY = "Qanarybird"


def entry(found: Register, stream: str, path: str) -> FieldEntry:
    (fields,) = (each.fields for each in found.streams if each.stream == stream)
    return next(each for each in fields if each.path == path)


@pytest.fixture
def clinic(manifest: Manifest) -> Manifest:
    """A small clinic on account, every family name and note with the canary."""
    bodies: dict[str, list[PulledRow]] = {}
    for row in generate(40, 5, NOW, canary=CANARY, nasty=0):
        bodies.setdefault(row.stream, []).append(PulledRow(row.key, row.body, NOW))
    for stream, rows in bodies.items():
        land(manifest, stream, rows)
    return manifest


def test_every_field_of_every_mapping_is_traced_to_an_element_by_its_examples() -> None:
    """A field that no example shows at work is neither documented nor tested."""
    for mapping in MAPPINGS.values():
        paths = [each.path for each in model_fields(mapping.row)]
        found = traces(mapping, mapping.examples, paths)
        dead = [path for path in paths if not found[path].is_read]
        assert not dead, mapping.resource_type


def test_fields_are_linked_to_elements_rules_and_maps_as_the_mapping_has_them(
    clinic: Manifest,
) -> None:
    found = register(list(MAPPINGS.values()), clinic, None)
    gender = entry(found, "patients", "gender")
    assert (gender.elements, gender.maps) == (("Patient.gender",), ("gender",))
    assert "quarantined: unmapped-code at gender" in gender.invalid["unknown"]
    assert gender.missing == ("left out",)
    kind = entry(found, "encounters", "type")
    assert kind.maps == ("encounter_class", "encounter_type")
    born = entry(found, "patients", "birth_date")
    assert (born.disposition, born.rule) == ("direct", "as it is")
    assert born.invalid["impossible date"] == ("quarantined: impossible-date at birth_date",)
    subject = entry(found, "observations", "patient_id")
    assert subject.rule == "reference by identifier"
    assert subject.missing == ("quarantined: missing-reference at patient_id",)
    assert entry(found, "encounters", "encounter_id").elements == (
        "ClinicalImpression.encounter", "ClinicalImpression.identifier", "Encounter.identifier"
    )  # fmt: skip
    assert entry(found, "observations", "components[].code").maps == ("observation_code",)


def test_two_fields_with_one_code_are_not_taken_for_one_another() -> None:
    """M is a sex and a marital status: whoever asks for M is found by changing it."""
    row = {"patient_id": "P1", "last_name": "Roe", "gender": "M", "marital_code": "M"}
    found = traces(MAPPINGS["Patient"], [row], ["gender", "marital_code"])
    assert (found["gender"].maps, found["marital_code"].maps) == ({"gender"}, {"marital_status"})


def test_a_populated_field_that_no_mapping_reads_is_listed_loudly(manifest: Manifest) -> None:
    """The harm: an allergy in a field nobody knew of stays behind, and the balance holds."""
    rows = [PulledRow(f"P{n}", {"patient_id": f"P{n}", "last_name": "Roe"}) for n in range(3)]
    rows += [PulledRow("P9", {"patient_id": "P9", "allergy": {"text": CANARY}, "unused": None})]
    land(manifest, "patients", rows)
    land(manifest, "allergies", [PulledRow("A1", {"id": "A1"})])
    found = register(list(MAPPINGS.values()), manifest, None)
    assert [(stream, each.path) for stream, each in found.not_mapped] == [
        ("patients", "allergy.text")
    ]
    assert entry(found, "patients", "allergy.text").populated == 1
    assert dict(found.unmapped_streams) == {"allergies": 1}
    written = as_markdown(found, NOW)
    assert "## POPULATED, NOT MAPPED" in written
    assert "**patients.allergy.text**: 1 rows (25.0%)" in written
    assert "allergies" in register_page(found, NOW)


def test_what_is_left_out_on_purpose_says_why_and_is_nobodys_oversight(manifest: Manifest) -> None:
    """The guide wants a disposition of every populated field, and somebody who answers for it."""
    row = {"patient_id": "P1", "last_name": "Roe", "allergy": {"text": "x"}, "ssn": "1"}
    land(manifest, "patients", [PulledRow("P1", row)])
    mapping = replace(
        MAPPINGS["Patient"],
        left_out={
            "allergy": (LeftOut.OUT_OF_SCOPE, "comes with the allergies"),
            "ssn": (LeftOut.EXCLUDED, "not wanted in Medplum"),
            "last_name": (LeftOut.UNSUPPORTED, "which is not true"),
        },
        owner="Dr. Invented",
        review=Review.APPROVED,
    )
    found = register([mapping], manifest, None)
    dispositions = {each.path: each.disposition for each in found.streams[0].fields}
    assert dispositions["allergy.text"] == "out of scope: comes with the allergies"
    assert dispositions["ssn"] == "excluded: not wanted in Medplum"
    assert [(each.path, each.disposition) for each in found.streams[0].not_mapped] == [
        ("last_name", CONTRADICTED)
    ]
    for told in (as_markdown(found, NOW), register_page(found, NOW)):
        assert "Owner: Dr. Invented. Review: approved." in told


def test_what_no_example_shows_is_traced_by_landed_rows(manifest: Manifest) -> None:
    row = {"patient_id": "P1", "last_name": "Roe", "email": "roe@mail.example"}
    land(manifest, "patients", [PulledRow("P1", row)])
    found = register([replace(MAPPINGS["Patient"], examples=())], manifest, None)
    assert "Patient.telecom.value" in entry(found, "patients", "email").elements
    assert entry(found, "patients", "phone").disposition == "declared; never seen, in no example"


def test_a_field_read_only_to_decide_is_no_unmapped_one() -> None:
    class Thing(Row):
        id: str
        kind: str | None = None
        note: str | None = None

    def thing(row: Thing) -> Resource:
        if row.kind == "no-such-value":
            raise Quarantined("unknown-kind", "kind")
        return {"resourceType": "Patient", "identifier": [identifier("Patient", row.id, "id")]}

    mapping: Mapping[Any] = replace(MAPPINGS["Patient"], row=Thing, build=thing)
    found = traces(mapping, [{"id": "1", "kind": "a", "note": "b"}], ["kind", "note"])
    assert found["kind"].is_read
    assert not found["kind"].elements
    assert not found["note"].is_read


def test_no_value_of_a_row_is_in_the_register(clinic: Manifest) -> None:
    """It goes to reviewers and auditors who may see no patient."""
    land_every_nasty_row(clinic)
    found = register(list(MAPPINGS.values()), clinic, None)
    told = (
        as_markdown(found, NOW)
        + register_page(found, NOW)
        + orjson.dumps(as_json_value(found)).decode()
    )
    assert CANARY not in told
    assert "P0000001" not in told
    assert "@people.example" not in told


def test_what_is_held_back_for_a_field_stands_beside_it(manifest: Manifest) -> None:
    land(manifest, "patients", [PulledRow("P1", {"patient_id": "P1", "gender": "9"})])
    (unit,) = manifest.pending_units("patients")
    settlement = Settlement(
        unit_id=unit.id,
        revision=unit.revision,
        state=State.QUARANTINED,
        reason="unmapped-code",
        field="gender",
    )
    manifest.settle([settlement], run_id=1)
    found = register(list(MAPPINGS.values()), manifest, None)
    assert entry(found, "patients", "gender").held_back == {"unmapped-code": 1}
    assert entry(found, "patients", "birth_date").held_back == {}


def test_dispositions_are_never_left_out(clinic: Manifest) -> None:
    """Without the source's description even the change time is somebody's to explain."""
    found = register(list(MAPPINGS.values()), clinic, None)
    for each in found.streams:
        assert all(field.disposition for field in each.fields)
        assert {field.path for field in each.not_mapped} <= {"updated_at"}
        assert NOT_MAPPED not in {field.disposition for field in each.fields if field.elements}


rows = st.recursive(
    st.integers() | st.text(max_size=5) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), rows, max_size=3))
def test_changing_one_place_leaves_the_row_as_it_was(row: dict[str, Any]) -> None:
    before = repr(row)
    for path in populated_paths(row):
        assert value_at(with_value(row, path, "new"), path) == "new"
        left = value_at(without(row, path), path)
        assert left is ABSENT or left in _all(row)
    assert repr(row) == before


def _all(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [value, *(found for each in inner for found in _all(each))]
