"""Two patients that may be one person are named by exact rules, and never by a guess."""

from pathlib import Path
from typing import Any

import pytest

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.steps.probable_duplicates import probable_duplicates
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import PulledRow

ZOE = {"family": "Ångström", "given": ["Zoë", "Ann"]}


class Person(Row):
    """A row that says what its resource holds."""

    id: str
    names: tuple[dict[str, Any], ...] = ()
    birth: str | None = None
    identifiers: tuple[dict[str, str], ...] = ()


def person(row: Person) -> Resource:
    """The resource it says."""
    if row.birth == "crash":
        raise ZeroDivisionError
    own = {"system": identifier_system("Patient"), "value": row.id}
    made: Resource = {"resourceType": "Patient", "identifier": [own, *row.identifiers]}
    made["name"] = list(row.names)
    made["birthDate"] = row.birth
    return made


PEOPLE = Mapping(
    stream="people",
    row=Person,
    resource_type="Patient",
    build=person,
    version="1",
    step=Step.PATIENTS,
)


@pytest.fixture
def account(tmp_path: Path, clock: Clock) -> Manifest:
    return Manifest(blank_file(tmp_path / "manifest.db"), clock=clock)


def found(account: Manifest, *people: dict[str, Any], **more: Any) -> dict[str, set[str]]:
    """Rules and the keys they name; people are keyed P0, P1 and so on."""
    rows = [
        PulledRow(f"P{n}", {"id": f"P{n}", **each}, **more if n else {})
        for n, each in enumerate(people)
    ]
    account.land("people", rows, run_id=1, reopen=True)
    return {
        each.rule: {key for _stream, key in each.units}
        for each in probable_duplicates(account, [PEOPLE])
    }


@pytest.mark.parametrize(
    "name",
    [
        ZOE,
        {"family": "ÅNGSTRÖM", "given": ["zoë", "ANN"]},
        {"family": "A\u030angstro\u0308m", "given": ["Zoe\u0308", "Ann"]},
        {"family": " Ångström ", "given": ["Zoë", "Ann "]},
    ],
    ids=["the same", "case", "decomposed", "blanks"],
)
def test_the_same_name_and_whole_birth_date_are_one_person_probably(
    account: Manifest, name: dict[str, Any]
) -> None:
    people = ({"names": [ZOE], "birth": "1980-01-02"}, {"names": [name], "birth": "1980-01-02"})
    assert found(account, *people) == {"same-name-and-birth-date": {"P0", "P1"}}


@pytest.mark.parametrize(
    "other",
    [
        {"names": [ZOE], "birth": "1980-01-03"},
        {"names": [{"family": "Angstrom", "given": ["Zoe", "Ann"]}], "birth": "1980-01-02"},
        {"names": [{"family": "Ångström", "given": ["Zoë"]}], "birth": "1980-01-02"},
        {"names": [{"family": "Ångström", "given": ["Ann", "Zoë"]}], "birth": "1980-01-02"},
        {"names": [ZOE], "birth": None},
        {"names": [ZOE], "birth": "crash"},
    ],
)
def test_a_likeness_is_no_proof(account: Manifest, other: dict[str, Any]) -> None:
    assert found(account, {"names": [ZOE], "birth": "1980-01-02"}, other) == {}


@pytest.mark.parametrize("birth", [None, "1980", "1980-01"])
def test_what_is_not_known_whole_matches_nothing(account: Manifest, birth: str | None) -> None:
    """Two people born in 1980 with one name are two people."""
    people = {"names": [ZOE], "birth": birth}
    assert found(account, people, people) == {}
    nameless = {"names": [{"given": ["Zoë"]}], "birth": "1980-01-02"}
    assert found(account, nameless, nameless) == {}


def test_an_identifier_of_somebody_else_names_one_person_whatever_the_name(
    account: Manifest,
) -> None:
    number = {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "invented"}
    other = {"system": "http://example.org/mrn", "value": "invented"}
    people = ({"identifiers": [number]}, {"identifiers": [number]}, {"identifiers": [other]})
    assert found(account, *people) == {"same-identifier": {"P0", "P1"}}


@pytest.mark.parametrize("gone", [{"deleted": True}, {"merged_into": "P0"}])
def test_a_row_that_is_gone_or_was_merged_at_the_source_is_nobodys_duplicate(
    account: Manifest, gone: dict[str, Any]
) -> None:
    people = {"names": [ZOE], "birth": "1980-01-02"}
    assert found(account, people, people, **gone) == {}
