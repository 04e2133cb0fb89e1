"""Fingerprints: equal content is equal, any other content is not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.fhir.fingerprints import canonical_json, fingerprint

_leaves = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.text(st.characters(codec="utf-8")),
    st.floats(allow_nan=False, allow_infinity=False),
)
_json = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
    ),
    max_leaves=20,
)
_resources = st.dictionaries(st.sampled_from("abcdefgh"), _json, min_size=1)


def _reversed(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _reversed(node[name]) for name in reversed(list(node))}
    return [_reversed(each) for each in node] if isinstance(node, list) else node


@given(_resources)
def test_the_order_of_keys_does_not_matter_at_any_depth(resource: dict[str, Any]) -> None:
    """Medplum ignores it too; a fingerprint that did not would send everything again."""
    assert fingerprint(_reversed(resource)) == fingerprint(resource)


@given(_resources, _resources)
def test_other_content_has_another_fingerprint(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = canonical_json(one) == canonical_json(two)
    assert (fingerprint(one) == fingerprint(two)) is same


def test_the_order_of_a_list_is_content() -> None:
    assert fingerprint({"given": ["Ann", "Mary"]}) != fingerprint({"given": ["Mary", "Ann"]})


def test_fingerprints_do_not_change_between_releases() -> None:
    """A changed one would send every record of a clinic again, once."""
    assert canonical_json({"b": ["é", 1.5], "a": True}) == '{"a":true,"b":["é",1.5]}'.encode()
    assert fingerprint({"b": ["é", 1.5], "a": True}) == "315f70377f711e675ce3a316786ae5f5"


def test_what_is_not_json_has_none() -> None:
    with pytest.raises(TypeError):
        fingerprint({"family": "\ud800"})
