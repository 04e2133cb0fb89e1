"""The demo clinic over a real socket: what a puller may rely on."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.population import generate
from migration_assets_tests.demo.founding import (
    ADMIN_KEY,
    API_KEY,
    NOW,
    found,
    get,
    pages,
    rows,
)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A clinic that the tests only read."""
    path = found(tmp_path_factory.mktemp("clinic"))
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as running:
        yield running


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Clinic]:
    """A clinic that a test may change."""
    with start_clinic(found(tmp_path), api_key=API_KEY, admin_key=ADMIN_KEY) as running:
        yield running


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ADMIN_KEY}])
@pytest.mark.parametrize("path", ["api", "api/patients", "api/patients/P001"])
def test_nobody_reads_without_the_key(clinic: Clinic, path: str, headers: dict[str, str]) -> None:
    answer = requests.get(clinic.base_url + path, headers=headers, timeout=30)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_key_for_reading_changes_nothing(clinic: Clinic, method: str) -> None:
    url = f"{clinic.base_url}admin/rows/patients/P001"
    for headers in ({}, {"X-API-Key": API_KEY}, {"X-Admin-Key": API_KEY}):
        answer = requests.request(method, url, json={}, headers=headers, timeout=30)
        assert answer.status_code == 401
    assert get(clinic, "api/patients/P001").status_code == 200


def test_every_row_of_the_population_is_served_whatever_is_wrong_with_it(clinic: Clinic) -> None:
    population = list(generate(40, 7, NOW))
    for stream, size in clinic.counts().items():
        served = [_without_time(row) for row in rows(clinic, stream, limit=1000)]
        made = [row.body for row in population if row.stream == stream]
        assert len(served) == size
        assert sorted(map(repr, map(_sorted, served))) == sorted(map(repr, map(_sorted, made)))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(limit=st.integers(3, 60), order=st.sampled_from(["asc", "desc"]))
def test_pages_of_any_size_hold_every_row_once_in_order(
    clinic: Clinic, limit: int, order: str
) -> None:
    found = pages(clinic, "encounters", limit=limit, order=order)
    assert all(len(page) == limit for page in found[:-1])
    places = [(row["updated_at"], row["encounter_id"]) for page in found for row in page]
    assert places == sorted(places, reverse=order == "desc")
    assert len(set(places)) == clinic.counts()["encounters"]


def test_a_window_is_half_open(clinic: Clinic) -> None:
    """Windows laid end to end must give every row once."""
    everything = rows(clinic, "encounters", limit=1000)
    middle = everything[len(everything) // 2]["updated_at"]
    before = rows(clinic, "encounters", updated_before=middle, limit=7)
    after = rows(clinic, "encounters", updated_since=middle, limit=7)
    assert before + after == everything
    assert after[0]["updated_at"] == middle
    assert rows(clinic, "encounters", updated_since=middle, updated_before=middle) == []


def test_a_bound_between_two_ticks_leaves_no_row_out_and_adds_none(clinic: Clinic) -> None:
    row = rows(clinic, "encounters", limit=1000)[5]
    moment = datetime.fromisoformat(row["updated_at"])
    a_little = timedelta(microseconds=1)
    assert row in rows(clinic, "encounters", updated_since=(moment - a_little).isoformat())
    assert row not in rows(clinic, "encounters", updated_since=(moment + a_little).isoformat())
    assert row in rows(clinic, "encounters", updated_before=(moment + a_little).isoformat())
    assert row not in rows(clinic, "encounters", updated_before=(moment - a_little).isoformat())


def test_the_total_is_that_of_the_window_and_the_same_on_every_page(clinic: Clinic) -> None:
    middle = rows(clinic, "encounters", limit=1000)[10]["updated_at"]
    answer = get(clinic, "api/encounters", updated_before=middle, limit=4).json()
    totals = [answer["total"]]
    while answer["next"]:
        answer = get(clinic, answer["next"]).json()
        totals.append(answer["total"])
    assert totals == [10, 10, 10]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"limit": "-1"},
        {"updated_since": "yesterday"},
        {"updated_since": "2026-01-01T00:00:00"},
        {"updated_before": "2026-13-01T00:00:00Z"},
        {"include_deleted": "maybe"},
        {"order": "random"},
        {"page_token": "made-up"},
        {"page_token": "WzFd"},
    ],
)
def test_a_question_it_does_not_understand_is_refused_not_guessed(
    clinic: Clinic, params: dict[str, str]
) -> None:
    answer = get(clinic, "api/patients", **params)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_no_page_is_larger_than_the_clinic_allows(clinic: Clinic) -> None:
    assert len(get(clinic, "api/observations", limit=5).json()["rows"]) == 5
    assert len(get(clinic, "api/observations").json()["rows"]) == 100
    assert get(clinic, "api/observations", limit=999_999_999).status_code == 200


def test_every_answer_tells_the_time(clinic: Clinic) -> None:
    """The high-water mark is capped by it."""
    told = parsedate_to_datetime(get(clinic, "api/patients", limit=1).headers["Date"])
    assert abs(told - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_stream_without_rows_is_not_a_stream_that_is_not(working: Clinic) -> None:
    working.put("allergies", "A1", {"id": "A1"})
    working.delete("allergies", "A1")
    assert get(working, "api/allergies").json() == {"rows": [], "next": None, "total": 0}
    assert get(working, "api/unheard-of").status_code == 404
    assert get(working, "api/unheard-of/1").status_code == 404


def test_a_deleted_row_becomes_a_tombstone_and_moves_to_the_end(working: Clinic) -> None:
    before = rows(working, "encounters", include_deleted="true", limit=1000)
    working.delete("encounters", "E001")
    assert get(working, "api/encounters/E001").status_code == 410
    assert get(working, "api/encounters/E00404").status_code == 404
    living = rows(working, "encounters", limit=9)
    after = rows(working, "encounters", include_deleted="true", limit=9)
    assert after[:-1] == living == [row for row in before if row["encounter_id"] != "E001"]
    assert set(after[-1]) == {"encounter_id", "updated_at", "deleted_at"}
    assert after[-1]["encounter_id"] == "E001"
    assert get(working, "api/encounters").json()["total"] == len(living)
    sizes = {each["name"]: each for each in get(working, "api").json()["streams"]}
    assert sizes["encounters"]["deleted"] == 1
    assert sizes["encounters"]["updated_at"] == after[-1]["updated_at"]
    assert working.counts()["encounters"] == len(after)


def test_a_row_written_again_is_alive_again(working: Clinic) -> None:
    row = _without_time(get(working, "api/patients/P001").json())
    working.delete("patients", "P001")
    working.put("patients", "P001", row)
    assert _without_time(get(working, "api/patients/P001").json()) == row


def test_a_key_may_hold_what_a_url_means_something_by(working: Clinic) -> None:
    key = "a/b?c=d&e#f %2f,|é"
    working.put("patients", key, {"patient_id": key})
    assert [row for row in rows(working, "patients", limit=1000) if row.get("patient_id") == key]
    working.delete("patients", key)
    tombstone = rows(working, "patients", include_deleted="true", limit=9)[-1]
    assert tombstone["patient_id"] == key


def test_paging_loses_and_doubles_nothing_while_the_clinic_works(working: Clinic) -> None:
    """A row that nobody touches comes once; a touched one comes at least once, in each state."""
    before = {row["encounter_id"]: row for row in rows(working, "encounters", limit=1000)}
    touched: set[str] = set()
    stop, worked = threading.Event(), threading.Event()

    def work() -> None:
        seed = 0
        while not stop.is_set():
            changed = working.change(seed, updates=2, inserts=2)
            touched.update(key for kind in changed.values() for _stream, key in kind)
            worked.set()
            seed += 1

    writer = threading.Thread(target=work)
    writer.start()
    worked.wait(30)
    # What is dated after the reading began is another reading's; else a busy clinic has no end.
    until = datetime.now(UTC) + timedelta(seconds=0.3)
    read = rows(working, "encounters", include_deleted="true", updated_before=until, limit=3)
    stop.set()
    writer.join()
    states = Counter((row["encounter_id"], row["updated_at"]) for row in read)
    assert set(states.values()) == {1}
    times = Counter(row["encounter_id"] for row in read)
    assert {key for key, often in times.items() if often > 1} <= touched
    assert before.keys() - touched <= times.keys()
    assert touched, "nobody worked"


def test_the_same_seed_makes_the_same_changes(tmp_path: Path) -> None:
    said: list[Any] = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        with start_clinic(found(folder), api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
            said.append(clinic.change(3, updates=6, inserts=4, deletes=5))
            streams = clinic.counts()
            said.append({each: [_without_time(r) for r in rows(clinic, each)] for each in streams})
    assert said[0] == said[2]
    assert said[1].keys() == said[3].keys()
    assert {kind: len(keys) for kind, keys in said[0].items()} == {
        "updated": 6,
        "inserted": 4,
        "deleted": 5,
        "erased": 0,
    }


def test_told_changes_are_seen_and_nothing_else_is(working: Clinic) -> None:
    began = datetime.now(UTC).isoformat(timespec="milliseconds")
    changed = working.change(11, updates=8, inserts=4, deletes=6)
    keys = [row for kind in changed.values() for row in kind]
    assert len(set(keys)) == len(keys)
    seen = [
        (stream, next(iter(row.values())), "deleted_at" in row)
        for stream in working.counts()
        for row in rows(working, stream, updated_since=began, include_deleted="true")
    ]
    expected = [
        (stream, key, kind == "deleted") for kind, r in changed.items() for stream, key in r
    ]
    assert sorted(seen) == sorted(expected)


def test_more_changes_than_there_are_rows_are_refused_in_words(working: Clinic) -> None:
    url = f"{working.base_url}admin/change"
    bodies: list[Any] = [{"deletes": 10_000}, {"deletes": -1}, {"deletes": "all"}, {"seeds": 1}, []]
    before = get(working, "api").json()
    for body in bodies:
        answer = requests.post(url, json=body, headers={"X-Admin-Key": ADMIN_KEY}, timeout=30)
        assert answer.status_code == 400
        assert answer.json()["error"]
    assert get(working, "api").json() == before


def _without_time(row: Any) -> Any:
    if isinstance(row, dict):
        return {name: each for name, each in row.items() if name != "updated_at"}
    return row


def _sorted(row: Any) -> Any:
    return sorted(row.items(), key=lambda item: item[0]) if isinstance(row, dict) else row
