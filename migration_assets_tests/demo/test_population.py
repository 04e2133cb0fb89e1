"""The population: the same every time, of any size, sound where it is not nasty on purpose."""

import json
import tracemalloc
from collections import Counter, defaultdict, deque
from datetime import date, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest

from migration_assets.demo.clinic_store import KEY_FIELDS, ClinicRow, milliseconds
from migration_assets.demo.guide_rows import GUIDE_ROWS, is_guide_key
from migration_assets.demo.nasty_rows import KINDS, Fate, NastyRow, is_nasty_key
from migration_assets.demo.population import generate
from migration_assets.mappings import discover
from migration_assets.steps.preparation import preview
from migration_assets_tests.demo.founding import NOW

_REFERENCES = {
    "patient_id": "patients",
    "practitioner_id": "practitioners",
    "organization_id": "organizations",
    "parent_id": "organizations",
    "encounter_id": "encounters",
    "reason_condition_id": "patient_conditions",
    "condition_id": "conditions",
    "observation_ids": "observations",
}


@pytest.fixture(scope="module")
def manifest() -> list[NastyRow]:
    """What the clinic below says of its nasty rows."""
    return []


@pytest.fixture(scope="module")
def population(manifest: list[NastyRow]) -> list[ClinicRow]:
    """A clinic of 600 patients."""
    return list(generate(600, 3, NOW, on_nasty=manifest.append))


def test_the_same_seed_size_and_moment_make_the_same_clinic() -> None:
    assert list(generate(30, 5, NOW)) == list(generate(30, 5, NOW))
    assert list(generate(30, 5, NOW)) != list(generate(30, 6, NOW))


def test_a_million_patients_are_not_held_at_once() -> None:
    """After a first stretch, with its note of 1.2 million letters, memory stands still.

    20,000 patients; a quarter of them is walked, for tracing makes it five times slower.
    """
    rows = generate(20_000, 1, NOW)
    tracemalloc.start()
    deque(islice(rows, 10_000), maxlen=0)
    at_first, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    deque(islice(rows, 40_000), maxlen=0)
    at_last, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert at_last - at_first < 20_000
    assert peak - at_first < 200_000


def test_each_patient_has_about_as_much_on_record_as_in_a_real_clinic(
    population: list[ClinicRow],
) -> None:
    ordinary = [row for row in population if not is_nasty_key(row.key)]
    per_patient = {name: n / 602 for name, n in Counter(row.stream for row in ordinary).items()}
    expected = {
        "patients": 1,
        "patient_conditions": 1.5,
        "prescriptions": 1,
        "encounters": 2,
        "observations": 4,
        "diagnostic_reports": 0.3,
    }
    assert {name: per_patient[name] for name in expected} == pytest.approx(expected, rel=0.15)
    notes = [bool(row.body["note"]) for row in ordinary if row.stream == "encounters"]
    assert sum(notes) / len(notes) == pytest.approx(0.6, abs=0.05)
    assert Counter(
        row.body["value_type"] for row in ordinary if row.stream == "observations"
    ).keys() == {
        "numeric",
        "panel",
        "coded",
        "text",
    }


def test_every_change_lies_in_the_two_years_before_now(population: list[ClinicRow]) -> None:
    """What lies outside would be in no partition of the demo."""
    times = [row.updated_at for row in population]
    assert min(times) >= milliseconds(NOW - timedelta(days=730))
    assert max(times) < milliseconds(NOW)
    months = {datetime.fromtimestamp(each / 1000, NOW.tzinfo).strftime("%Y-%m") for each in times}
    assert len(months) >= 24


def test_only_nasty_rows_refer_to_nothing(
    population: list[ClinicRow], manifest: list[NastyRow]
) -> None:
    keys = {(row.stream, row.key) for row in population}
    dangling = {
        (row.stream, row.key)
        for row in population
        for target in _references(row)
        if target not in keys
    }
    lost = {"missing-reference", "unknown-condition"}
    assert dangling == {(each.stream, each.key) for each in manifest if each.kind in lost}
    assert all(is_nasty_key(key) for _stream, key in dangling)


def test_no_ordinary_row_depends_on_a_nasty_one(population: list[ClinicRow]) -> None:
    """Else one bad row would hold others back, and nobody could say what a migration owes."""
    assert not [
        row.stream
        for row in population
        if not is_nasty_key(row.key)
        for _stream, key in _references(row)
        if is_nasty_key(key)
    ]


def test_a_report_is_made_of_its_own_patients_laboratory_values(
    population: list[ClinicRow],
) -> None:
    observations = {row.key: row.body for row in population if row.stream == "observations"}
    reports = [row.body for row in population if row.stream == "diagnostic_reports"]
    assert reports
    for report in reports:
        results = [observations[key] for key in report["observation_ids"]]
        assert 2 <= len(results) <= 4
        assert {each["patient_id"] for each in results} == {report["patient_id"]}
        assert {each["category"] for each in results} == {"laboratory"}


def test_rows_arrive_before_what_they_refer_to(population: list[ClinicRow]) -> None:
    changed = {(row.stream, row.key): row.updated_at for row in population}
    early = Counter(
        row.stream
        for row in population
        for target in _references(row)
        if changed.get(target, 0) > row.updated_at
    )
    assert {"patient_conditions", "encounters", "observations", "prescriptions"} <= early.keys()


def test_keys_are_unique_but_for_the_rows_that_are_to_share_one(
    population: list[ClinicRow],
    manifest: list[NastyRow],
) -> None:
    counted = Counter((row.stream, row.key) for row in population)
    twice = {place for place, often in counted.items() if often > 1 and place[1]}
    assert twice == {(each.stream, each.key) for each in manifest if each.kind == "key-used-twice"}


def test_the_guides_rows_are_there_to_the_letter(population: list[ClinicRow]) -> None:
    served: dict[str, list[Any]] = defaultdict(list)
    for row in population:
        if is_guide_key(row.key):
            served[row.stream].append(row.body)
    assert served == {stream: list(rows) for stream, rows in GUIDE_ROWS.items()}


@pytest.mark.parametrize("patients", [10, 25])
def test_the_smallest_clinic_has_every_kind_of_nasty_row(patients: int) -> None:
    manifest: list[NastyRow] = []
    rows = list(generate(patients, 1, NOW, on_nasty=manifest.append))
    assert {each.kind for each in manifest} == set(KINDS)
    assert Counter((row.stream, row.key) for row in rows if is_nasty_key(row.key)) == Counter(
        (each.stream, each.key) for each in manifest
    )


def test_the_share_of_nasty_rows_is_as_asked_for(
    population: list[ClinicRow], manifest: list[NastyRow]
) -> None:
    assert len(manifest) / len(population) == pytest.approx(0.02, abs=0.002)
    assert Counter(each.kind for each in manifest)["long-note"] == 1
    many: list[NastyRow] = []
    total = sum(1 for _row in generate(200, 1, NOW, nasty=0.3, on_nasty=many.append))
    assert len(many) / total == pytest.approx(0.3, abs=0.02)
    none: list[NastyRow] = []
    list(generate(50, 1, NOW, nasty=0, on_nasty=none.append))
    assert none == []


def test_every_row_meets_the_fate_that_is_foretold(
    population: list[ClinicRow], manifest: list[NastyRow]
) -> None:
    """A row that the mappings refuse is to be refused; every other must pass them."""
    fates = {(each.stream, each.key): each for each in manifest}
    mappings = {mapping.stream: mapping for mapping in discover().values()}
    # Seen when rows are landed, or when they are sent.
    later = {"key-used-twice", "long-note", "own-parent", "duplicate-person"}
    wrong = set()
    for row in population:
        if row.stream not in mappings:
            continue
        refused = bool(preview(mappings[row.stream], row.key, row.body).problems)
        nasty = fates.get((row.stream, row.key))
        expected = nasty is not None and nasty.fate is Fate.QUARANTINED and nasty.kind not in later
        if refused != expected:
            wrong.add((row.stream, nasty.kind if nasty else "ordinary"))
    assert wrong == set()


def test_a_canary_is_in_every_patients_name_and_in_every_note() -> None:
    rows = list(generate(60, 2, NOW, canary="Zzyzx"))
    patients = [row.body for row in rows if row.stream == "patients"]
    notes = [row.body["note"] for row in rows if row.stream == "encounters" and row.body["note"]]
    assert all("Zzyzx" in each["last_name"] for each in patients)
    assert all("Zzyzx" in each for each in notes)
    assert list(generate(60, 2, NOW)) == [
        row._replace(body=json.loads(json.dumps(row.body).replace(" Zzyzx", ""))) for row in rows
    ]


def test_names_are_not_all_ascii(population: list[ClinicRow]) -> None:
    patients = [row.body for row in population if row.stream == "patients"]
    assert sum(not each["last_name"].isascii() for each in patients) > 100


@pytest.mark.parametrize("patients", [0, 9, 1_000_001])
def test_a_size_it_is_not_made_for_is_refused(patients: int) -> None:
    with pytest.raises(ValueError, match="10 to 1,000,000"):
        generate(patients, 1, NOW)


def test_nobody_is_treated_before_birth_or_dies_before_it(population: list[ClinicRow]) -> None:
    for row in population:
        if row.stream == "patients" and not is_nasty_key(row.key) and row.body.get("deceased_at"):
            born, died = row.body["birth_date"], row.body["deceased_at"]
            assert born < died
            assert date.fromisoformat(died[:10]) <= NOW.date()


def test_organizations_form_no_circle_but_the_one_on_purpose(population: list[ClinicRow]) -> None:
    parents = {
        row.key: row.body["parent_id"] for row in population if row.stream == "organizations"
    }
    for key in parents:
        path = [key]
        while (above := parents.get(path[-1])) and above not in path:
            path.append(above)
        assert above is None or (is_nasty_key(key) and above == key), list(pairwise(path))


def _references(row: ClinicRow) -> list[tuple[str, str]]:
    if not isinstance(row.body, dict) or row.stream == "conditions":
        return []
    own = KEY_FIELDS[row.stream]
    found = []
    for field, stream in _REFERENCES.items():
        value = row.body.get(field)
        if field == own or value is None:
            continue
        found += [(stream, key) for key in (value if isinstance(value, list) else [value])]
    return found
