"""A drafted description pulls the API its document describes, every row of it."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from migration_assets.legacy.description import load_description
from migration_assets.legacy.drafting import Draft, draft
from migration_assets.legacy.drafting.documents import document_of, parsed
from migration_assets.legacy.pull import Puller
from migration_assets.legacy.rows import PulledRow
from migration_assets_tests.legacy.conftest import PERSON, VirtualTime
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.openapi_documents import (
    like_drf,
    like_elation,
    like_openemr,
    ten_regular_streams,
)

SINCE = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
Pull = Callable[..., list[PulledRow]]


def drafted(body: bytes, **options: Any) -> Draft:
    return draft(document_of(parsed(body), where="the document"), where="the document", **options)


def day(number: int) -> str:
    return (SINCE + dt.timedelta(days=number)).isoformat().replace("+00:00", "Z")


@pytest.fixture
def pull(time: VirtualTime) -> Iterator[Pull]:
    """Pulls a stream of a draft, unchanged, with an invented value for each variable it names."""
    made: list[Puller] = []

    def rows(one: Draft, stream: str, since: dt.datetime | None = None) -> list[PulledRow]:
        environ = dict.fromkeys(one.variables, "invented")
        puller = Puller(
            load_description(one.text), environ=environ, clock=time.clock, sleep=time.sleep
        )
        made.append(puller)
        return [row for page in puller.pages(stream, since, None) for row in page.rows]

    yield rows
    for one in made:
        one.close()


def keys(rows: list[PulledRow]) -> list[str]:
    assert [row.problem for row in rows if row.problem] == []
    return sorted({str(row.key) for row in rows}, key=int)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_an_api_like_elation_s_is_pulled_from_its_draft(server: LegacyServer, pull: Pull) -> None:
    def patients(asked: Asked) -> Reply:
        assert asked.headers["Authorization"] == "Bearer t"
        begin = int(asked.one("cursor", "0"))
        rows = [
            {"id": n, "last_modified": day(n), "deleted_date": day(n) if n == 3 else None}
            for n in range(begin, min(begin + 2, 7))
        ]
        more = f"{server.url}/patients/?cursor={begin + 2}"
        return json_reply({"results": rows, "next": more if begin < 6 else None})

    server.answers("/oauth2/token/", json_reply({"access_token": "t", "expires_in": 3600}))
    server.routes["/patients/"] = patients
    one = drafted(orjson.dumps(like_elation(server.url)))
    assert one.streams == ("patients", "physicians")
    found = pull(one, "patients", SINCE)
    assert keys(found) == numbers(7)
    assert keys([row for row in found if row.deleted]) == ["3"]
    first = next(asked for asked in server.asked if asked.path == "/patients/")
    assert first.one("last_modified__gte") == "2024-03-01T00:00:00Z"
    assert first.one("limit") == "100"


def test_a_django_api_is_pulled_from_its_draft_with_details_and_notes(
    server: LegacyServer, pull: Pull
) -> None:
    def patients(asked: Asked) -> Reply:
        assert asked.one("ordering") == "id"
        begin, size = int(asked.one("offset")), int(asked.one("limit"))
        rows = [{"id": str(n), "modified_date": day(n)} for n in range(230)][begin : begin + size]
        return json_reply({"results": rows, "count": 230, "next": None, "previous": None})

    def notes(patient: int) -> Callable[[Asked], Reply]:
        own = [{"id": patient * 2 + n, "patient": {"id": str(patient)}} for n in (0, 1)]
        url = f"{server.url}/api/v1/patient/{patient}/notes/?cursor=x"
        return lambda asked: json_reply(
            {"results": own[1:], "next": None}
            if asked.one("cursor")
            else {"results": own[:1], "next": url}
        )

    server.routes["/api/v1/patient/"] = patients
    for n in range(230):
        detail = {"id": str(n), "modified_date": day(n), "address": "x", "phones": []}
        server.answers(f"/api/v1/patient/{n}/", json_reply(detail))
        server.routes[f"/api/v1/patient/{n}/notes/"] = notes(n)
    one = drafted(like_drf(server.url))
    found = pull(one, "patient", SINCE)
    assert keys(found) == numbers(230)
    assert all(row.row["address"] == "x" for row in found)
    assert server.asked[0].headers["Authorization"] == "invented"
    assert keys(pull(one, "patient_notes")) == numbers(460)
    assert PERSON not in one.text


def test_a_swagger_api_like_openemr_s_is_pulled_from_its_draft(
    server: LegacyServer, pull: Pull
) -> None:
    fine: dict[str, Any] = {"validationErrors": [], "internalErrors": []}
    base = "/apis/default/api"

    def patients(asked: Asked) -> Reply:
        assert asked.one("api_key") == "invented"
        begin, size = int(asked.one("_offset")), int(asked.one("_limit"))
        rows = [{"id": 900 + n, "uuid": str(n)} for n in range(120)][begin : begin + size]
        return json_reply({"data": rows, **fine})

    server.routes[f"{base}/patient"] = patients
    for n in range(120):
        visits = [{"id": n, "uuid": str(n)}]
        server.answers(f"{base}/patient/{n}/encounter", json_reply({"data": visits, **fine}))
    server.answers(f"{base}/facility", json_reply([{"facility_id": n} for n in range(3)]))
    one = drafted(like_openemr(server.url))
    assert keys(pull(one, "patient")) == numbers(120)
    assert keys(pull(one, "patient_encounter")) == numbers(120)
    assert keys(pull(one, "facility")) == numbers(3)
    described = load_description(one.text).stream("patient")
    assert described.id == ("uuid",)  # the path of one patient takes its puuid
    assert described.error_if == ("validationErrors", "internalErrors")
    assert described.cursor is None


def test_a_regular_api_of_ten_streams_is_thirty_lines(server: LegacyServer, pull: Pull) -> None:
    def rows(asked: Asked) -> Reply:
        assert asked.headers["X-API-Key"] == "invented"
        assert asked.one("limit") == "200"
        return json_reply({"results": [{"id": 1, "updated_at": day(1)}], "next": None})

    one = drafted(orjson.dumps(ten_regular_streams(server.url)))
    assert len(one.streams) == 10
    assert len(one.text.splitlines()) <= 30
    for name in one.streams:
        server.routes[f"/{name}"] = rows
        assert keys(pull(one, name, SINCE)) == ["1"]


def test_the_same_document_gives_the_same_draft_however_it_is_written() -> None:
    """A draft is compared with the one of last year's document."""
    body = orjson.dumps(ten_regular_streams())
    assert drafted(body) == drafted(body)
    assert drafted(orjson.dumps(parsed(body), option=orjson.OPT_INDENT_2)) == drafted(body)


def test_streams_asked_for_bring_those_whose_keys_they_take() -> None:
    one = drafted(like_drf("https://x.org"), only=["patient_notes"])
    assert one.streams == ("patient", "patient_notes")
    one = drafted(orjson.dumps(like_elation("https://x.org")), only=["physicians"])
    assert one.streams == ("physicians",)
