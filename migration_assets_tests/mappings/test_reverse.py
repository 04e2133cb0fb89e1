"""The way back: a row is what its resource says, for every mapping that declares it."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from migration_assets.demo.population import generate
from migration_assets.errors import Quarantine
from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.mapping import Mapping, Quarantined, Related, Resource, Skip
from migration_assets.mappings import discover
from migration_assets_tests.demo.founding import NOW

_FOUND = {kind: each for kind, each in discover().items() if each.reverse is not None}
_POPULATION = list(generate(60, 11, NOW))

every_way_back = pytest.mark.parametrize("mapping", _FOUND.values(), ids=_FOUND)


def _resources(mapping: Mapping[Any], row: dict[str, Any]) -> tuple[Resource, ...]:
    built = mapping.build(mapping.row.model_validate(row))
    if isinstance(built, Skip):
        return ()
    return built.resources if isinstance(built, Related) else (built,)


def _back(mapping: Mapping[Any], resources: tuple[Resource, ...], row: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in resources:
        assert mapping.reverse is not None
        fields = mapping.reverse(each, row)
        assert isinstance(fields, dict)
        found |= fields
    return found


def _prints(resources: tuple[Resource, ...]) -> list[str]:
    return [fingerprint(each) for each in resources]


def test_the_types_that_people_edit_have_a_way_back() -> None:
    assert {"Patient", "Organization", "Practitioner", "Observation", "Encounter"} <= set(_FOUND)


@every_way_back
def test_a_row_made_from_its_resource_is_the_same_resource_again(mapping: Mapping[Any]) -> None:
    for row in mapping.examples:
        made = _resources(mapping, row)
        assert _prints(_resources(mapping, _back(mapping, made, {}))) == _prints(made)
        again = {**row, **_back(mapping, made, row)}
        assert _prints(_resources(mapping, again)) == _prints(made)


@every_way_back
def test_so_is_every_row_of_a_clinic_that_can_be_mapped(mapping: Mapping[Any]) -> None:
    held = 0
    for each in (row.body for row in _POPULATION if row.stream == mapping.stream):
        try:
            made = _resources(mapping, each)
        except (Quarantine, ValueError):
            continue
        if made:
            again = {**each, **_back(mapping, made, each)}
            assert _prints(_resources(mapping, again)) == _prints(made)
            held += 1
    assert held


@every_way_back
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_so_is_any_mixture_of_rows(mapping: Mapping[Any], data: st.DataObject) -> None:
    """Fields of any rows beside each other, some left out: what maps at all comes back."""
    rows = [dict(each) for each in mapping.examples]
    rows += [
        row.body
        for row in _POPULATION
        if row.stream == mapping.stream and isinstance(row.body, dict)
    ][:30]
    names = sorted({name for row in rows for name in row})
    mixed = {
        name: data.draw(st.sampled_from(rows), label=name).get(name)
        for name in data.draw(st.sets(st.sampled_from(names)))
    }
    try:
        made = _resources(mapping, {**data.draw(st.sampled_from(rows)), **mixed})
    except (Quarantine, ValueError):
        made = ()
    assume(made)
    assert _prints(_resources(mapping, _back(mapping, made, {}))) == _prints(made)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gender": "nonsense"}, "no-local-code at Patient.gender"),
        (
            {"maritalStatus": {"coding": [{"system": "x", "code": "x"}]}},
            "no-local-code at Patient.maritalStatus",
        ),
        ({"maritalStatus": {"text": "it depends"}}, "no-local-code at Patient.maritalStatus"),
        (
            {"managingOrganization": {"reference": "Organization/somewhere"}},
            "reference-not-on-account at Patient.managingOrganization",
        ),
    ],
)
def test_what_the_source_has_no_word_for_is_refused_not_guessed(
    change: Resource, said: str
) -> None:
    mapping = _FOUND["Patient"]
    (made,) = _resources(mapping, mapping.examples[1])
    with pytest.raises(Quarantined) as refused:
        _back(mapping, ({**made, **change},), {})
    assert str(refused.value) == said


def test_of_two_local_codes_for_one_standard_code_the_row_s_own_counts_or_none() -> None:
    mapping = _FOUND["Organization"]
    (made,) = _resources(mapping, {"organization_id": "O", "name": "N", "type_code": "hospital"})
    standard = {**made, "type": [{"coding": made["type"][0]["coding"][1:]}]}
    assert _back(mapping, (standard,), {"type_code": "clinic"})["type_code"] == "clinic"
    with pytest.raises(Quarantined, match="several-local-codes"):
        _back(mapping, (standard,), {})
