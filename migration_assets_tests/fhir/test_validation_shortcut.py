"""The models run once per structure: no value may slip through that they would have refused."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.fhir import validation
from migration_assets.fhir.validation import problems
from migration_assets.mapping import Related, Resource, Skip
from migration_assets.mappings import discover


def _examples() -> list[Resource]:
    made: list[Resource] = []
    for mapping in discover().values():
        for example in mapping.examples:
            built = mapping.build(mapping.row.model_validate(example))
            if not isinstance(built, Skip):
                made += built.resources if isinstance(built, Related) else [built]
    return made


EXAMPLES = _examples()
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "", " ", " x", "male", "final", "bogus", "2020-02-30", "2020-13-01", "2020-01-01",
            "2020-01-01T10:00:00", "2020-01-01T10:00:00Z", "2020-01-01T24:00:00Z", "0000-00-00",
            "urn:uuid:x", "http://x y", "a\x00b", "\ud800", "Patient/1", "Practitioner/1", "1.10",
        ]
    ),
    st.sampled_from([[], {}, [{}], [None], {"system": "x"}, {"coding": [{"code": "x"}]}]),
)  # fmt: skip


def _places(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a resource."""
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [way] * bool(way) + [
        each for name, child in children for each in _places(child, (*way, name))
    ]


def _changed(resource: Resource, way: tuple[Any, ...], value: Any) -> Resource:
    made = copy.deepcopy(resource)
    holder: Any = made
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = value
    return made


def _forget() -> None:
    validation._STRUCTURES.clear()
    validation._FAULTLESS.clear()


@pytest.mark.parametrize(
    "resource", EXAMPLES, ids=[f"{each['resourceType']}-{n}" for n, each in enumerate(EXAMPLES)]
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_structure_seen_before_hides_no_bad_value(
    resource: Resource, data: st.DataObject
) -> None:
    """Changing any one value of a sound resource is judged alike with and without the shortcut."""
    assert problems(resource) == ()
    changed = _changed(resource, data.draw(st.sampled_from(_places(resource))), data.draw(_VALUES))
    with_shortcut = problems(changed)
    _forget()
    assert with_shortcut == problems(changed)


def test_the_shortcut_is_taken_at_all() -> None:
    _forget()
    problems(EXAMPLES[0])
    assert len(validation._STRUCTURES) == 1
    problems(EXAMPLES[0])
    assert len(validation._STRUCTURES) == 1
