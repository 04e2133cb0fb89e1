"""Each description that ships pulls a small server of its vendor's shape, every row of it."""

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import migration_assets.legacy
from migration_assets.legacy.description import load_description
from migration_assets.legacy.environment import _references
from migration_assets.legacy.pull import Puller
from migration_assets.legacy.rows import PulledRow
from migration_assets_tests.legacy.conftest import VirtualTime
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.queue_source import QueueSource

FOLDER = Path(migration_assets.legacy.__file__).parent / "examples"
SINCE = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
LONGEST = 30

Pull = Callable[..., list[PulledRow]]
Opened = Callable[[str], Puller]


@pytest.fixture
def opened(server: LegacyServer, time: VirtualTime) -> Iterator[Opened]:
    """Opens an example's source on the test server."""
    made: list[Puller] = []
    server.answers("/token", json_reply({"access_token": "t", "expires_in": 3600}))
    server.answers("/oauth2/token/", json_reply({"access_token": "t", "expires_in": 3600}))

    def open_source(example: str) -> Puller:
        source = load_description(FOLDER / f"{example}.yaml")
        environ = {one.env: "invented" for one in _references(source)}
        environ |= {name: f"{server.url}/token" for name in environ if name.endswith("TOKEN_URL")}
        environ[f"{example.upper().removesuffix('HEALTH')}_URL"] = server.url
        puller = Puller(source, environ=environ, clock=time.clock, sleep=time.sleep)
        made.append(puller)
        return puller

    yield open_source
    for one in made:
        one.close()


@pytest.fixture
def pull(opened: Opened) -> Pull:
    """Every row of an example's stream."""

    def rows(example: str, stream: str, since: dt.datetime | None = None) -> list[PulledRow]:
        pages = opened(example).pages(stream, since, None)
        return [row for page in pages for row in page.rows]

    return rows


def keys(rows: list[PulledRow]) -> list[str]:
    assert [row.problem for row in rows if row.problem] == []
    return sorted({str(row.key) for row in rows}, key=int)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def day(number: int) -> str:
    return (SINCE + dt.timedelta(days=number)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_an_example_is_short_and_loads(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST
    source = load_description(file)
    assert len(source.streams) >= 3
    assert source.name == file.stem


def test_cliniko_is_walked_with_its_deletions(server: LegacyServer, pull: Pull) -> None:
    def serve(field: str, rows: list[dict[str, Any]], asked: Asked) -> Reply:
        (since,) = (one.split(">=")[1] for one in asked.query["q[]"] if ">=" in one)
        found = [row for row in rows if row[field] >= since]
        begin = (int(asked.one("page")) - 1) * 100
        return json_reply({"patients": found[begin : begin + 100], "total_entries": len(found)})

    rows = [{"id": n, "updated_at": day(n // 40)} for n in range(250)]
    gone = [{"id": 900, "deleted_at": day(1), "updated_at": day(0)}]
    server.routes["/patients"] = lambda asked: serve("updated_at", rows, asked)
    server.routes["/patients/deleted"] = lambda asked: serve("deleted_at", gone, asked)
    server.routes["/patients/archived"] = lambda asked: serve("updated_at", [], asked)
    found = pull("cliniko", "patients", SINCE)
    assert keys([row for row in found if not row.deleted]) == numbers(250)
    assert keys([row for row in found if row.deleted]) == ["900"]
    assert server.asked[0].query["q[]"] == ["updated_at:>=2024-03-01T00:00:00Z"]
    assert "@" in server.asked[0].headers["User-Agent"]


def test_openemr_is_read_in_full_with_details(server: LegacyServer, pull: Pull) -> None:
    fine: dict[str, Any] = {"validationErrors": [], "internalErrors": []}

    def patients(asked: Asked) -> Reply:
        begin, size = int(asked.one("_offset")), int(asked.one("_limit"))
        rows = [{"uuid": str(n)} for n in range(230)][begin : begin + size]
        return json_reply({"data": rows, **fine})

    server.routes["/patient"] = patients
    for number in numbers(230):
        server.answers(
            f"/patient/{number}", json_reply({"data": {"uuid": number, "fname": "x"}, **fine})
        )
    found = pull("openemr", "patient")
    assert keys(found) == numbers(230)
    assert all(row.row["fname"] == "x" and row.volatile == ("date",) for row in found)


def test_openmrs_is_read_patient_by_patient(
    server: LegacyServer, pull: Pull, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("patient-ids.txt").write_text("7\n8\n")

    def encounters(asked: Asked) -> Reply:
        begin = int(asked.one("startIndex", "0"))
        number = (int(asked.one("patient")) - 7) * 3 + begin
        more = f"{server.url}/encounter?patient={asked.one('patient')}&startIndex={begin + 1}"
        links = [{"rel": "next", "uri": more}] if begin < 2 else []
        row = {"uuid": str(number), "voided": begin == 2}
        return json_reply({"results": [row], "links": links})

    server.routes["/encounter"] = encounters
    found = pull("openmrs", "encounter")
    assert keys(found) == numbers(6)
    assert [row.parent for row in found] == ["7"] * 3 + ["8"] * 3
    assert keys([row for row in found if row.deleted]) == ["2", "5"]


def test_drchrono_is_asked_for_windows_within_its_quota(
    server: LegacyServer, pull: Pull, time: VirtualTime
) -> None:
    def appointments(asked: Asked) -> Reply:
        begin, end = (dt.datetime.fromisoformat(asked.one(name)) for name in ("since", "until"))
        assert end - begin <= dt.timedelta(days=190)
        inside = [n for n in range(9) if begin <= SINCE - dt.timedelta(days=400 * n) < end]
        rows = [
            {
                "id": n,
                "updated_at": (SINCE - dt.timedelta(days=400 * n)).isoformat(),
                "archived": n > 5,
            }
            for n in inside
        ]
        return json_reply({"results": rows, "next": None})

    time.now = (SINCE + dt.timedelta(days=3)).timestamp()
    server.routes["/appointments"] = appointments
    found = pull("drchrono", "appointments")
    assert keys(found) == numbers(9)
    assert keys([row for row in found if row.archived]) == ["6", "7", "8"]
    assert time.slept  # nine a second


def test_elation_tells_merges_and_deletions(server: LegacyServer, pull: Pull) -> None:
    def patients(asked: Asked) -> Reply:
        begin = int(asked.one("cursor", "0"))
        rows = [
            {"id": begin, "last_modified": day(1), "merged_into_chart": 1 if begin == 2 else None},
            {"id": begin + 1, "last_modified": day(1), "deleted_date": day(2) if begin else None},
        ]
        more = f"{server.url}/patients/?cursor={begin + 2}"
        return json_reply({"results": rows, "next": more if begin < 4 else None})

    server.routes["/patients/"] = patients
    found = pull("elation", "patients", SINCE)
    assert keys(found) == numbers(6)
    assert [row.merged_into for row in found] == [None, None, "1", None, None, None]
    assert keys([row for row in found if row.deleted]) == ["3", "5"]


def test_athenahealth_s_queue_is_emptied_only_of_what_was_landed(
    server: LegacyServer, opened: Opened, time: VirtualTime
) -> None:
    """Events come while we read; each pull marks as read what it handed out, and no other."""
    time.now = SINCE.timestamp()
    source = QueueSource(SINCE)
    server.routes["/patients/changed"] = source.serve
    for number in range(1500):
        source.change(str(number))
    puller, found = opened("athenahealth"), list[PulledRow]()
    source.before_each = lambda: source.change("1500") if len(source.asked) == 2 else None
    for page in puller.pages("patients", None, None):
        found += page.rows
        assert source.taken == []
    assert keys(found) == numbers(1500)
    assert [row for page in puller.acknowledge("patients") for row in page.rows] == []
    assert [event.patient for event in source.unread] == ["1500"]
    again = [row for page in puller.pages("patients", SINCE, None) for row in page.rows]
    assert keys(again) == numbers(1501)


def test_care_is_asked_by_days_of_kolkata(server: LegacyServer, pull: Pull) -> None:
    def patients(asked: Asked) -> Reply:
        assert asked.one("modified_date_after") == "2024-03-01"
        begin, size = int(asked.one("offset")), int(asked.one("limit"))
        rows = [{"id": n, "modified_date": day(120 - n)} for n in range(120)]
        return json_reply({"results": rows[begin : begin + size], "count": 120})

    server.routes["/patient/"] = patients
    assert keys(pull("care", "patient", SINCE)) == numbers(120)
