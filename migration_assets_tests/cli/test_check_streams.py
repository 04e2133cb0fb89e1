"""What ``migration check STREAM`` shows of a source it asks over a socket, and never shows."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from migration_assets_tests.cli.command import migration
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.raw_server import Serve, drips, raw_server

DESCRIPTION = """
name: clinic
base_url: {url}
defaults:
  path: "{{stream}}"
  select: rows
  id: id
  pager: {{type: offset, size: 50, overlap: 5, total: total}}
streams:
  - {{name: visits, cursor: {{field: changed, tz: UTC, param: since}}}}
  - {{name: rooms, pager: {{type: page, size_param: limit, size: 50}}}}
  - {{name: patients}}
"""
OLD = [f"2020-01-{day:02d}T10:00:00" for day in range(1, 21)]


@pytest.fixture
def legacy() -> Iterator[LegacyServer]:
    with LegacyServer() as server:
        yield server


@pytest.fixture
def source(legacy: LegacyServer, tmp_path: Path) -> str:
    (tmp_path / "clinic.yaml").write_text(DESCRIPTION.format(url=legacy.url))
    return "clinic.yaml"


def _visits(asked: Asked) -> Reply:
    """Years old in order of change; lately something was written by a clock three hours ahead."""
    times = OLD
    if asked.one("since"):
        ahead = dt.datetime.now(dt.UTC) + dt.timedelta(hours=3)
        times = [ahead.strftime("%Y-%m-%dT%H:%M:%S")]
    rows = [{"id": n, "changed": at, "name": "Zebulon-Canary"} for n, at in enumerate(times)]
    return json_reply({"rows": rows, "total": 4_000})


def _seen(out: str) -> dict[str, dict[str, Any]]:
    return {one["claim"]: one for one in orjson.loads(out)["findings"]}


def test_a_zone_that_cannot_be_is_told_from_the_newest_rows(
    legacy: LegacyServer, source: str, tmp_path: Path
) -> None:
    legacy.routes["/visits"] = _visits
    ran = migration("check", "--json", "visits", folder=tmp_path, MIGRATION_SOURCE=source)
    assert ran.returncode == 0, ran.stderr
    found = _seen(ran.stdout)
    told = found["stream visits"]
    assert told["verdict"] == "warning"
    seen = told["seen"]
    assert seen["zone"]["at_least"] == "+03:00"
    assert seen["zone"]["contradicts"] is True
    assert (seen["order"], seen["served"], seen["asked"], seen["total"]) == (
        "ascending", 20, 50, 4_000
    )  # fmt: skip
    assert seen["requests"] == len(legacy.asked) == 2
    assert "Medplum settings" not in found
    assert "Canary" not in ran.stdout + ran.stderr


def test_a_person_reads_it_in_indented_lines_without_a_value_of_a_row(
    legacy: LegacyServer, source: str, tmp_path: Path
) -> None:
    legacy.routes["/visits"] = _visits
    ran = migration("check", "visits", folder=tmp_path, MIGRATION_SOURCE=source)
    assert "! stream visits: answers; one page of 20 rows; no mapping reads it" in ran.stdout
    assert "    20 rows of 50 asked for, 4,000 in all (the source caps the page)" in ran.stdout
    assert "without a zone (+03:00 or more, read in UTC)" in ran.stdout
    assert "    ! changed carries no zone, and read in UTC it lies in the future" in ran.stdout
    assert "2020" not in ran.stdout
    assert "Canary" not in ran.stdout


def test_a_page_cut_by_the_source_is_told_from_the_last_one(
    legacy: LegacyServer, source: str, tmp_path: Path
) -> None:
    """20 rows of 50 asked for are all there is, or a fifth of it: only a second page can tell."""

    def rooms(asked: Asked) -> Reply:
        number = int(asked.one("page"))
        return json_reply(
            {"rows": [{"id": number * 20 + n} for n in range(20 if number < 3 else 0)]}
        )

    legacy.routes["/rooms"] = rooms
    ran = migration("check", "--json", "rooms", folder=tmp_path, MIGRATION_SOURCE=source)
    seen = _seen(ran.stdout)["stream rooms"]["seen"]
    assert (seen["served"], seen["asked"], seen["more"], seen["requests"]) == (20, 50, True, 2)
    assert seen["order"] is None
    assert seen["by_id"] == "ascending"


def test_a_stream_that_does_not_answer_fails_and_the_others_are_looked_at(
    legacy: LegacyServer, source: str, tmp_path: Path
) -> None:
    legacy.answers("/patients", json_reply({}, status=404))
    legacy.answers("/rooms", json_reply({"rows": []}))
    ran = migration(
        "check", "--json", "patients", "rooms", folder=tmp_path, MIGRATION_SOURCE=source
    )
    assert ran.returncode == 1
    found = _seen(ran.stdout)
    assert found["stream patients"]["verdict"] == "failed"
    assert "404" in found["stream patients"]["told"]
    assert found["stream rooms"]["verdict"] == "ok"
    assert found["stream rooms"]["seen"]["served"] == 0


def test_a_stream_whose_changes_cannot_be_asked_for_fails(
    legacy: LegacyServer, source: str, tmp_path: Path
) -> None:
    """The first page came, but every pull after it would not."""
    legacy.routes["/visits"] = lambda asked: (
        json_reply({}, status=400) if asked.one("since") else _visits(asked)
    )
    ran = migration("check", "--json", "visits", folder=tmp_path, MIGRATION_SOURCE=source)
    assert ran.returncode == 1
    assert "400" in _seen(ran.stdout)["stream visits"]["told"]


@pytest.mark.parametrize(
    "serve",
    [None, drips(), drips(first=b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n[", piece=b" ")],
    ids=["closed", "accepts and never answers", "answers byte by byte"],
)
def test_a_source_that_is_dead_is_told_in_the_time_that_a_person_waits(
    serve: Serve | None, tmp_path: Path
) -> None:
    """Ten streams with six tries each were a hundred seconds and more, for one and the same."""
    with raw_server(serve or drips()) as address:
        url = f"http://{'127.0.0.1:1' if serve is None else address}/"
        described = DESCRIPTION.format(url=url)
        (tmp_path / "clinic.yaml").write_text(described)
        words = ["check", "--json", "--patience", "0.5", *(f"s{number}" for number in range(10))]
        began = time.monotonic()
        ran = migration(*words, folder=tmp_path, MIGRATION_SOURCE="clinic.yaml")
        seconds = time.monotonic() - began
    assert ran.returncode == 1
    told = [each for name, each in _seen(ran.stdout).items() if name.startswith("stream ")]
    assert [each["verdict"] for each in told] == ["failed"] * 10
    asked = [each for each in told if "not asked" not in each["told"]]
    assert len(asked) == (10 if serve is None else 1)
    assert seconds < 40, "most of it is the start of the program"


def test_silent_streams_use_up_three_patiences_beside_one_that_answers(
    legacy: LegacyServer, source: str, tmp_path: Path
) -> None:
    legacy.answers("/rooms", json_reply({"rows": []}))

    def silent(_asked: Asked) -> Reply:
        time.sleep(2)
        return json_reply({"rows": []})

    names = [f"s{number}" for number in range(9)]
    legacy.routes |= {f"/{name}": silent for name in names}
    words = ["check", "--json", "--patience", "1", "rooms", *names]
    ran = migration(*words, folder=tmp_path, MIGRATION_SOURCE=source)
    told = [each["told"] for each in _seen(ran.stdout).values()]
    assert sum("not asked" in each for each in told) == 6
    assert ran.returncode == 1
