"""The demo clinic's rows through the mappings: sound rows pass, and what is wrong is named.

What other rooms find (a key used twice, a row that is no object, a request too large, a target
that is not there) is theirs to test.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from migration_assets.demo.population import generate
from migration_assets.fhir.validation import problems
from migration_assets.mapping import Mapping, Quarantined, Related, Skip
from migration_assets.mappings import discover

NAMED = {
    "unknown-gender": "unmapped-code at gender",
    "unknown-status": "unmapped-code at status",
    "unknown-encounter-type": "unmapped-code at type",
    "unknown-condition": "unmapped-code at condition_id",
    "unknown-unit": "unmapped-code at unit",
    "not-a-number": "not-a-number at value",
    "null-reference": "missing-reference at patient_id",
    "impossible-date": "impossible-date at birth_date",
    "zero-date": "impossible-date at birth_date",
    "wrong-order-date": "unreadable-date at birth_date",
    "worded-date": "unreadable-date at birth_date",
    "zone-less-time": "zone-less-time at observed_at",
    "padded-id": "identifier-padded at patient_id",
    "nul": "control-character at Patient.name[0].family",
    "long-name": "text-too-long at Patient.name[0]",
    "blank-drug": "missing-code at drug_code",
}


def _outcome(mapping: Mapping[Any], body: Any) -> str:
    if not isinstance(body, dict):
        return "not an object"
    try:
        built = mapping.build(mapping.row.model_validate(body))
    except ValidationError:
        return "not the row's shape"
    except Quarantined as error:
        return str(error)
    assert not isinstance(built, Skip)
    resources = built.resources if isinstance(built, Related) else (built,)
    found = [each for resource in resources for each in problems(resource)]
    return f"{found[0].reason} at {found[0].path}" if found else ""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Counter[str]]:
    """What became of the rows of a small clinic, by kind of nasty row; '' is a sound one."""
    nasty: dict[tuple[str, str], str] = {}
    made: dict[str, Counter[str]] = {}
    by_stream = {each.stream: each for each in discover().values()}
    rows = list(
        generate(
            200,
            7,
            datetime(2026, 11, 1, tzinfo=UTC),
            on_nasty=lambda row: nasty.update({(row.stream, row.key): row.kind}),
        )
    )
    for row in rows:
        if row.stream in by_stream:
            kind = made.setdefault(nasty.get((row.stream, row.key), ""), Counter())
            kind[_outcome(by_stream[row.stream], row.body)] += 1
    return made


def test_every_sound_row_becomes_a_valid_resource(outcomes: dict[str, Counter[str]]) -> None:
    """Each code of the clinic has its line in a concept map."""
    assert set(outcomes[""]) == {""}
    assert outcomes[""].total() > 1_000


@pytest.mark.parametrize(("kind", "named"), NAMED.items(), ids=NAMED)
def test_a_nasty_row_is_quarantined_for_what_is_wrong_with_it(
    outcomes: dict[str, Counter[str]], kind: str, named: str
) -> None:
    assert set(outcomes[kind]) == {named}


@pytest.mark.parametrize("kind", ["non-ascii", "punctuated-id", "duplicate-person"])
def test_an_odd_row_that_is_sound_is_not_held_back(
    outcomes: dict[str, Counter[str]], kind: str
) -> None:
    assert set(outcomes[kind]) == {""}
