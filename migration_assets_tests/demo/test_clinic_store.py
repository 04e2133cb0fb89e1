"""The clinic's database: it keeps what it is given, in any number."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.demo.clinic_store import (
    KEY_FIELDS,
    ClinicStore,
    Selection,
    instant,
    milliseconds,
)
from migration_assets_tests.demo.founding import NOW

_CHANGED = milliseconds(NOW)


def test_two_rows_with_one_key_and_one_change_time_are_both_kept(tmp_path: Path) -> None:
    with ClinicStore(tmp_path / "clinic.db") as store:
        store.load(
            ("patients", "P1", _CHANGED, {"patient_id": "P1", "first_name": name})
            for name in ("Anna", "Berta")
        )
        first = store.page(Selection("patients"), after=None, limit=1)
        assert first.following is not None
        second = store.page(Selection("patients"), after=first.following, limit=1)
        assert second.following is None
    names = [orjson.loads(row)["first_name"] for row in (*first.rows, *second.rows)]
    assert names == ["Anna", "Berta"]


@pytest.mark.parametrize("body", ["corrupt", 7, None, [], ["{"], {}])
def test_a_row_may_be_any_json(tmp_path: Path, body: object) -> None:
    with ClinicStore(tmp_path / "clinic.db") as store:
        store.load([("patients", "", _CHANGED, body)])
        served = orjson.loads(store.page(Selection("patients"), after=None, limit=9).rows[0])
    time = {"updated_at": instant(_CHANGED)}
    assert served == (body | time if isinstance(body, dict) else body)


def test_the_clinic_says_when_a_row_changed_not_the_row(tmp_path: Path) -> None:
    """A row that is put back as it was served must not keep its old time."""
    with ClinicStore(tmp_path / "clinic.db") as store:
        store.put("patients", "P1", {"patient_id": "P1", "updated_at": "1999"}, now=NOW)
        found = store.row("patients", "P1")
    assert found is not None
    assert orjson.loads(found[0]) == {"patient_id": "P1", "updated_at": instant(_CHANGED)}


def test_a_loaded_clinic_is_one_file(tmp_path: Path) -> None:
    """It is moved to its place when it is complete; a file left behind would be half of it."""
    with ClinicStore(tmp_path / "clinic.db") as store:
        store.load([("patients", "P1", _CHANGED, {"patient_id": "P1"})])
    assert [each.name for each in tmp_path.iterdir()] == ["clinic.db"]


def test_a_new_types_examples_are_served_and_no_other_types(tmp_path: Path) -> None:
    """Examples may have the keys of the population's rows, which they would contradict."""
    with ClinicStore(tmp_path / "clinic.db") as store:
        store.load([("patients", "P001", _CHANGED, {"patient_id": "P001"})])
        extra = [("patients", ({"patient_id": "P001"},)), ("allergies", ({"id": "A1"}, {}))]
        assert store.load_examples(extra, now=NOW) == 2
        sizes = {each.name: each.rows for each in store.streams()}
        page = store.page(Selection("allergies", before=_CHANGED), after=None, limit=9)
    assert sizes == dict.fromkeys(KEY_FIELDS, 0) | {"patients": 1, "allergies": 2}
    changed = {"updated_at": instant(milliseconds(NOW - timedelta(hours=1)))}
    assert [orjson.loads(row) for row in page.rows] == [changed, {"id": "A1"} | changed]


def test_founding_again_adds_to_what_is_there(tmp_path: Path) -> None:
    for key in ("P1", "P2"):
        with ClinicStore(tmp_path / "clinic.db") as store:
            store.load([("patients", key, _CHANGED, {"patient_id": key})])
            assert store.total(Selection("patients")) == int(key[1])


@given(st.timedeltas(timedelta(days=-20_000), timedelta(days=200_000)))
def test_a_moment_is_rounded_up_to_the_clinics_tick(distance: timedelta) -> None:
    """Both ends of [since, before) come out right: the first tick that is not before the moment."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + distance
    read = datetime.fromisoformat(instant(milliseconds(moment)))
    assert timedelta(0) <= read - moment < timedelta(milliseconds=1)
