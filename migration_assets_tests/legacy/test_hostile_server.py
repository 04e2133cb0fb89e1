"""The hostile-server table of the legacy-APIs study: what a source may do to us, over sockets.

Each test is one row of the table. ``told`` fails if an error, or one chained to it, holds a
secret, a row or a query value.
"""

import itertools

import pytest

from migration_assets.errors import Permanent, Transient
from migration_assets_tests.legacy.conftest import (
    PERSON,
    SECRET,
    MakePuller,
    VirtualTime,
    keys,
    told,
)
from migration_assets_tests.legacy.legacy_server import (
    Asked,
    LegacyServer,
    Reply,
    json_reply,
    nobody_listens,
)

NEXT = {"pager": {"type": "next_url", "path": "next"}}
ONE = {"id": 1, "name": PERSON}


def page(*rows: object, following: object = None) -> Reply:
    return json_reply({"data": list(rows), "next": following})


def test_a_next_link_to_another_host_is_not_followed(
    server: LegacyServer, other: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", page(ONE, following=f"{other.url}/rows?secret=1"))
    with pytest.raises(Permanent, match="not the declared host") as caught:
        keys(puller(NEXT))
    assert other.asked == []
    assert "secret=1" not in told(caught.value)


@pytest.mark.parametrize("link", ["http://[", "ftp://127.0.0.1/x", "http://u:p@127.0.0.1/"])
def test_a_next_link_that_leads_nowhere_is_a_clear_error(
    server: LegacyServer, puller: MakePuller, link: str
) -> None:
    server.answers("/rows", page(ONE, following=link))
    with pytest.raises(Permanent, match=r"not an address|not the declared host"):
        keys(puller(NEXT))


def test_a_link_header_to_another_host_is_not_followed(
    server: LegacyServer, other: LegacyServer, puller: MakePuller
) -> None:
    link = f'<{other.url}/rows>; rel="next"'
    server.answers("/rows", json_reply({"data": [ONE]}, Link=link))
    with pytest.raises(Permanent, match="not the declared host") as caught:
        keys(puller({"pager": {"type": "link_header"}}))
    assert other.asked == []
    told(caught.value)


def test_an_allowed_host_is_read_but_gets_no_credential(
    server: LegacyServer, other: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", page(ONE, following=f"{other.url}/more"))
    other.answers("/more", page({"id": 2}))
    one = puller(
        NEXT,
        http={"allow_hosts": [{"origin": other.url}]},
        headers={"X-Tenant-Key": {"env": "TENANT"}, "X-Client": "us"},
        environ={"TENANT": SECRET},
    )
    assert keys(one) == ["1", "2"]
    assert server.asked[0].headers["X-Tenant-Key"] == SECRET
    sent = dict(other.asked[0].headers)
    assert SECRET not in str(sent)
    assert sent["X-Client"] == "us"


def test_an_allowed_host_gets_the_credential_only_if_told(
    server: LegacyServer, other: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", page(ONE, following=f"{other.url}/more"))
    other.answers("/more", page({"id": 2}))
    allowed = {"allow_hosts": [{"origin": other.url, "send_credential": True}]}
    assert keys(puller(NEXT, http=allowed)) == ["1", "2"]
    assert other.asked[0].headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    server: LegacyServer, other: LegacyServer, puller: MakePuller, status: int
) -> None:
    server.answers("/rows", Reply(b"", status, {"Location": f"{other.url}/rows"}))
    with pytest.raises(Permanent, match=f"{status}, a redirect") as caught:
        keys(puller())
    assert other.asked == []
    told(caught.value)


def test_a_next_link_to_itself_ends(server: LegacyServer, puller: MakePuller) -> None:
    counter = itertools.count()
    server.routes["/rows"] = lambda _: page({"id": next(counter)}, following="/rows?t=1")
    with pytest.raises(Permanent, match="circle") as caught:
        keys(puller(NEXT))
    assert len(server.asked) == 2
    told(caught.value)


def test_a_page_token_that_never_changes_ends(server: LegacyServer, puller: MakePuller) -> None:
    counter = itertools.count()
    server.routes["/rows"] = lambda _: page({"id": next(counter)}, following="same")
    with pytest.raises(Permanent, match="circle"):
        keys(puller({"pager": {"type": "cursor", "path": "next", "param": "after"}}))
    assert len(server.asked) == 2


def test_a_page_parameter_that_is_ignored_ends(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", page(ONE))
    with pytest.raises(Permanent, match="two equal pages") as caught:
        keys(puller({"pager": {"type": "page"}}))
    told(caught.value)


def test_pages_without_end_end(server: LegacyServer, puller: MakePuller) -> None:
    counter = itertools.count()
    server.routes["/rows"] = lambda _: page({"id": next(counter)})
    with pytest.raises(Permanent, match="no end after 7 pages"):
        keys(puller({"pager": {"type": "page"}, "max_pages": 7}))
    assert len(server.asked) == 7


@pytest.mark.parametrize(
    ("stream", "body", "fate", "says"),
    [
        ({}, {"error": {"message": PERSON}}, Permanent, "no list at data"),
        ({}, {"data": {"id": 1}}, Permanent, "no list at data"),
        ({}, {"data": None}, Permanent, "no list at data"),
        ({"error_if": "error"}, {"error": PERSON, "data": []}, Transient, "an error at error"),
        ({"require": "total"}, {"data": []}, Permanent, "no total"),
        (
            {"require_true": "success"},
            {"success": False, "data": []},
            Transient,
            "success is not true",
        ),
    ],
)
def test_a_200_that_is_no_page_is_never_taken_for_no_rows(
    server: LegacyServer,
    puller: MakePuller,
    stream: dict[str, object],
    body: object,
    fate: type[Exception],
    says: str,
) -> None:
    server.answers("/rows", json_reply(body))
    with pytest.raises(fate, match=says) as caught:
        keys(puller(stream))
    told(caught.value)


def test_a_200_with_an_error_that_passes_is_tried_again(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", json_reply({"data": [], "errors": ["busy"]}), page(ONE))
    assert keys(puller({"error_if": ["errors"]})) == ["1"]


def test_a_token_that_expires_between_pages_is_renewed_once(
    server: LegacyServer, puller: MakePuller
) -> None:
    tokens = itertools.count(1)

    def token(asked: Asked) -> Reply:
        assert asked.form["client_secret"] == [SECRET]
        return json_reply({"access_token": f"token-{next(tokens)}", "expires_in": 3600})

    def rows(asked: Asked) -> Reply:
        number = int(asked.one("p", "0"))
        if number >= 1 and asked.headers["Authorization"] == "Bearer token-1":
            return json_reply({"error": "expired"}, 401)
        return page({"id": number}, following=f"/rows?p={number + 1}" if number < 2 else None)

    server.routes |= {"/token": token, "/rows": rows}
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": "/token",
        "client_id": {"env": "CLIENT"},
        "client_secret": {"env": "LEGACY_TOKEN"},
    }
    one = puller(NEXT, auth=auth, environ={"CLIENT": "us"})
    assert keys(one) == ["0", "1", "2"]
    assert one.requests_made == 6


RETRY_DATE = "Tue, 14 Nov 2023 22:14:20 GMT"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": RETRY_DATE, "Date": "Tue, 14 Nov 2023 22:14:00 GMT"}, 20.0),
        ({"X-RateLimit-Reset": "1700000050", "Date": ""}, 50.0),
        ({"X-RateLimit-Reset": "9"}, 9.0),
        ({"Retry-After": "soon"}, 0.5),
        ({}, 0.5),
    ],
)
def test_a_429_is_waited_out_as_it_asks(
    server: LegacyServer,
    puller: MakePuller,
    time: VirtualTime,
    headers: dict[str, str],
    wait: float,
) -> None:
    server.answers("/rows", Reply(b"", 429, headers), page(ONE))
    assert keys(puller(http={"reset_header": "X-RateLimit-Reset"})) == ["1"]
    assert time.slept == [wait]


def test_a_wait_beyond_patience_is_handed_back_with_its_length(
    server: LegacyServer, puller: MakePuller, time: VirtualTime
) -> None:
    server.answers("/rows", json_reply({}, 429, Retry_After="86400"))
    with pytest.raises(Transient, match="429") as caught:
        keys(puller())
    assert caught.value.retry_after == 86400
    assert time.slept == []


def test_a_source_that_is_down_is_transient(puller: MakePuller, time: VirtualTime) -> None:
    with (
        nobody_listens() as url,
        pytest.raises(Transient, match=r"6 attempts.*reachable") as caught,
    ):
        keys(puller(base_url=url))
    assert time.slept == [0.5, 1, 2, 4, 8]
    told(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_credential_names_the_variable_to_check(
    server: LegacyServer, puller: MakePuller, status: int
) -> None:
    server.answers("/rows", json_reply({"error": PERSON}, status))
    with pytest.raises(Permanent, match="check LEGACY_TOKEN") as caught:
        keys(puller())
    assert len(server.asked) == 1
    told(caught.value)


def test_messages_name_scheme_host_and_declared_path_only(
    server: LegacyServer, puller: MakePuller
) -> None:
    """The path of a link of the source may hold a patient's id."""
    server.answers("/rows", page(ONE, following="/patients/4711/rows?x=1"))
    server.answers("/patients/4711/rows", json_reply({}, 404))
    with pytest.raises(Permanent) as caught:
        keys(puller(NEXT))
    assert f"pulling patients from {server.url}/rows: it answered 404" in told(caught.value)
    assert "4711" not in told(caught.value)


def test_cookies_are_not_kept(server: LegacyServer, puller: MakePuller) -> None:
    """A cookie jar asks for no port: a session would reach another server on the same host."""
    first = json_reply({"data": [ONE], "next": "/more"}, Set_Cookie="session=1")
    server.answers("/rows", first)
    server.answers("/more", page({"id": 2}))
    assert keys(puller(NEXT)) == ["1", "2"]
    assert "Cookie" not in server.asked[1].headers


def test_proxies_of_the_environment_are_ignored(
    server: LegacyServer,
    other: LegacyServer,
    puller: MakePuller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", other.url)
    monkeypatch.setenv("NO_PROXY", "")
    server.answers("/rows", page(ONE))
    assert keys(puller()) == ["1"]
    assert other.asked == []
