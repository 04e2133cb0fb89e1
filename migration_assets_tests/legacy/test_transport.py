"""Who we are to a source, what its statuses mean, and how often it is asked."""

import base64
import datetime as dt
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets_tests.legacy.conftest import SECRET, MakePuller, VirtualTime, keys, told
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply

PAGE = json_reply({"data": [{"id": 1}]})
TOKEN = {"env": "LEGACY_TOKEN"}
OAUTH = {
    "type": "oauth2_client_credentials",
    "token_url": "token",
    "client_id": {"env": "CLIENT"},
    "client_secret": TOKEN,
    "scope": "read",
}
US = {"CLIENT": "us"}


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "none"}, "Authorization", None),
        ({"type": "bearer", "token": TOKEN}, "Authorization", f"Bearer {SECRET}"),
        (
            {"type": "basic", "user": TOKEN},
            "Authorization",
            "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode(),
        ),
        (
            {"type": "basic", "user": {"env": "CLIENT"}, "password": TOKEN},
            "Authorization",
            "Basic " + base64.b64encode(f"us:{SECRET}".encode()).decode(),
        ),
        ({"type": "header", "name": "X-Key", "value": TOKEN}, "X-Key", SECRET),
    ],
)
def test_the_source_hears_who_we_are(
    server: LegacyServer, puller: MakePuller, auth: dict[str, Any], header: str, value: str | None
) -> None:
    server.answers("/rows", PAGE)
    assert keys(puller(auth=auth, environ=US)) == ["1"]
    assert server.asked[0].headers.get(header) == value


def test_a_key_in_the_query_is_sent_once_on_every_page(
    server: LegacyServer, puller: MakePuller
) -> None:
    """A next link may echo it, or leave it out."""
    server.answers("/rows", json_reply({"data": [], "next": f"/more?key={SECRET}&page=2&x="}))
    server.answers("/more", PAGE)
    auth = {"type": "query", "param": "key", "value": TOKEN}
    assert keys(puller({"pager": {"type": "next_url"}}, auth=auth)) == ["1"]
    assert [asked.query["key"] for asked in server.asked] == [[SECRET], [SECRET]]
    assert server.asked[1].query["x"] == [""]


@pytest.mark.parametrize("value", [None, "", "  ", "line\nbreak", " padded", "nul\0"])
def test_a_variable_that_cannot_be_sent_is_named_before_any_request(
    server: LegacyServer, puller: MakePuller, value: str | None
) -> None:
    """Requests would quote a secret with a line break in its own error."""
    environ = {} if value is None else {"OTHER": value}
    auth = {"type": "bearer", "token": {"env": "OTHER"}}
    with pytest.raises(Permanent, match="OTHER"):
        puller(auth=auth, environ=environ)
    assert server.asked == []


def test_a_credential_that_fits_in_no_header_is_a_clear_error(
    server: LegacyServer, puller: MakePuller
) -> None:
    auth = {"type": "bearer", "token": {"env": "OTHER"}}
    with pytest.raises(Permanent, match=r"could not be made.*plain text"):
        keys(puller(auth=auth, environ={"OTHER": "token-\N{EURO SIGN}"}))


def test_the_base_url_may_come_from_the_environment(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", PAGE)
    one = puller(base_url={"env": "URL"}, environ={"URL": server.url})
    assert keys(one) == ["1"]
    with pytest.raises(Permanent, match="base_url is plain http"):
        puller(base_url={"env": "URL"}, environ={"URL": "http://legacy.example.org"})


def test_a_token_is_fetched_once_and_renewed_before_it_expires(
    server: LegacyServer, puller: MakePuller, time: VirtualTime
) -> None:
    server.answers("/rows", PAGE)
    server.answers("/token", json_reply({"access_token": "t", "expires_in": "600"}))
    one = puller(auth=OAUTH, environ=US)
    for passed in (0, 539, 1):
        time.now += passed
        keys(one)
    asked = [asked.path for asked in server.asked]
    assert asked == ["/token", "/rows", "/rows", "/token", "/rows"]
    assert server.asked[0].form["scope"] == ["read"]
    assert "Authorization" not in server.asked[0].headers


def test_a_credential_that_stays_refused_is_renewed_only_once(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", json_reply({}, 401))
    server.answers("/token", json_reply({"access_token": "t", "expires_in": 600}))
    with pytest.raises(Permanent, match="check CLIENT and LEGACY_TOKEN") as caught:
        keys(puller(auth=OAUTH, environ=US))
    assert len(server.asked) == 4
    told(caught.value)


@pytest.mark.parametrize(
    ("reply", "fate", "says"),
    [
        (json_reply({"error": "invalid_client"}, 400), Permanent, "check CLIENT and LEGACY_TOKEN"),
        (json_reply({}, 401), Permanent, "check CLIENT and LEGACY_TOKEN"),
        (json_reply({}, 503), Transient, "503 after 6 attempts"),
        (json_reply({"token": "x"}), Permanent, "no usable access_token"),
        (json_reply({"access_token": "x\ny"}), Permanent, "no usable access_token"),
        (json_reply({}, 302, Location="http://127.0.0.2/"), Permanent, "redirect"),
    ],
)
def test_a_token_that_is_not_given_says_what_to_check(
    server: LegacyServer, puller: MakePuller, reply: Reply, fate: type[MigrationError], says: str
) -> None:
    server.answers("/token", reply)
    with pytest.raises(fate, match=f"fetching a token from {server.url}/token.*{says}") as caught:
        keys(puller(auth=OAUTH, environ=US))
    told(caught.value)


def test_a_token_without_lifetime_is_used_for_a_while(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", PAGE)
    server.answers("/token", json_reply({"access_token": "t", "expires_in": None}))
    one = puller(auth=OAUTH, environ=US)
    assert [keys(one), keys(one)] == [["1"], ["1"]]
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_passes_is_waited_out(
    server: LegacyServer, puller: MakePuller, status: int
) -> None:
    server.answers("/rows", json_reply({}, status), json_reply({}, status), PAGE)
    assert keys(puller()) == ["1"]


@pytest.mark.parametrize(
    ("status", "fate"), [(400, Permanent), (404, Permanent), (204, Permanent), (501, Transient)]
)
def test_a_status_that_does_not_pass_is_told_at_once(
    server: LegacyServer, puller: MakePuller, status: int, fate: type[MigrationError]
) -> None:
    server.answers("/rows", Reply(b"", status))
    with pytest.raises(fate, match=str(status)):
        keys(puller())
    assert len(server.asked) == 1


def rule(action: str) -> dict[str, Any]:
    return {"on_status": [{"status": [404, 418], "action": action}]}


def test_a_status_may_mean_something_else_here(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", json_reply({}, 418), PAGE)
    assert keys(puller(http=rule("retry"))) == ["1"]
    server.answers("/rows", json_reply({}, 418))
    with pytest.raises(Permanent, match="418"):
        keys(puller(http=rule("fail")))


def test_a_skipped_status_ends_numbered_pages(server: LegacyServer, puller: MakePuller) -> None:
    """Django REST framework answers 404 beyond the last page."""
    server.answers("/rows", PAGE, json_reply({}, 404))
    assert keys(puller({"pager": {"type": "page"}}, http=rule("skip"))) == ["1"]


def test_a_skipped_status_within_a_chain_is_an_error(
    server: LegacyServer, puller: MakePuller
) -> None:
    """There is no way to the pages behind it."""
    server.answers("/rows", json_reply({"data": [], "next": "/more"}))
    server.answers("/more", json_reply({}, 404))
    with pytest.raises(Permanent, match="in the middle"):
        keys(puller({"pager": {"type": "next_url"}}, http=rule("skip")))


def test_a_refresh_can_be_asked_for_by_another_status(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", json_reply({}, 418), PAGE)
    server.answers("/token", json_reply({"access_token": "t"}))
    assert keys(puller(auth=OAUTH, environ=US, http=rule("reauth"))) == ["1"]
    assert [asked.path for asked in server.asked] == ["/token", "/rows", "/token", "/rows"]


def test_limits_hold_over_all_streams_of_a_source(
    server: LegacyServer, puller: MakePuller, time: VirtualTime
) -> None:
    server.answers("/rows", PAGE)
    one = puller(limits=[{"requests": 2, "per_seconds": 60}])
    for _ in range(5):
        keys(one)
    assert [round(wait) for wait in time.slept] == [60, 60]


def test_a_connection_is_kept(server: LegacyServer, puller: MakePuller) -> None:
    ports: list[str] = []

    def rows(asked: Asked) -> Reply:
        ports.append(asked.client)
        return PAGE

    server.routes["/rows"] = rows
    one = puller()
    for _ in range(3):
        keys(one)
    assert len(set(ports)) == 1


@pytest.mark.parametrize(
    ("headers", "second"),
    [
        ({"Date": "Tue, 14 Nov 2023 22:13:25 GMT"}, 25),
        ({"Date": "Tue, 14 Nov 2023 22:13:25 GMT", "Age": "20"}, 5),
        ({"Date": "Tue, 14 Nov 2023 22:13:25 GMT", "Age": "old"}, 25),
        ({"Date": ""}, 20),
        ({"Date": "yesterday"}, 20),
        ({"Date": "Fri, 31 Dec 9999 23:59:59 -1400"}, 20),
    ],
)
def test_the_server_time_is_no_later_than_what_the_answer_shows(
    server: LegacyServer, puller: MakePuller, headers: dict[str, str], second: int
) -> None:
    server.answers("/rows", Reply(b'{"data": []}', headers=headers))
    found = puller().first_page("patients").server_time
    assert found == dt.datetime(2023, 11, 14, 22, 13, second, tzinfo=dt.UTC)


def test_an_authority_that_is_not_there_is_named(puller: MakePuller) -> None:
    with pytest.raises(Permanent, match=r"http\.verify names /nowhere\.pem"):
        puller(http={"verify": "/nowhere.pem"})


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_is_verified(puller: MakePuller, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1"
    extension = "subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *request.split(), "-addext", extension, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with LegacyServer(tls=context) as server:
        server.answers("/rows", PAGE)
        assert keys(puller(base_url=server.url, http={"verify": str(certificate)})) == ["1"]
        with pytest.raises(Permanent, match="not trusted; give the authority") as caught:
            keys(puller(base_url=server.url))
    assert len(server.asked) == 1
    told(caught.value)


def test_both_ends_of_a_window_may_share_a_parameter(
    server: LegacyServer, puller: MakePuller
) -> None:
    """Cliniko takes ``q[]`` as often as one likes."""
    server.answers("/rows", PAGE)
    cursor = {"field": "updated_at", "param": "q[]", "send": "updated_at:>={value}"}
    cursor |= {"until_param": "q[]", "until_send": "updated_at:<{value}"}
    window = (dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (1, 2))
    list(puller({"cursor": cursor}).pages("patients", *window))
    asked = ["updated_at:>=2024-01-01T00:00:00Z", "updated_at:<2024-01-02T00:00:00Z"]
    assert server.asked[0].query["q[]"] == asked
