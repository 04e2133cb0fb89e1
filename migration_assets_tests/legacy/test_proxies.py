"""A proxy is used if the description names it, and nothing of the environment otherwise."""

from pathlib import Path

import pytest

from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets_tests.legacy.conftest import SECRET, MakePuller, keys, told
from migration_assets_tests.legacy.legacy_server import (
    LegacyServer,
    Reply,
    json_reply,
    nobody_listens,
)
from migration_assets_tests.legacy.raw_server import drips, raw_server

PAGE = json_reply({"data": [{"id": 1}]})
FAR = "http://legacy.example.org/api"
NAMED = {"proxy": {"env": "CLINIC_PROXY"}, "allow_plain_http": True}


def test_a_proxy_that_is_named_leads_to_the_source(
    other: LegacyServer, puller: MakePuller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY is the environment's, and does not matter either."""
    monkeypatch.setenv("NO_PROXY", "*")
    other.answers("/api/rows", PAGE)
    one = puller(base_url=FAR, http=NAMED, environ={"CLINIC_PROXY": other.url})
    assert keys(one) == ["1"]
    assert other.asked[0].headers["Host"] == "legacy.example.org"


def test_credentials_of_a_netrc_file_are_not_sent(
    server: LegacyServer,
    puller: MakePuller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They would also replace the declared ones."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login us password {SECRET}")
    monkeypatch.setenv("NETRC", str(netrc))
    server.answers("/rows", PAGE)
    assert keys(puller(auth={"type": "none"})) == ["1"]
    assert "Authorization" not in server.asked[0].headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_by_way_of_a_proxy_has_the_same_deadline(puller: MakePuller, scheme: str) -> None:
    http = {**NAMED, "deadline": 0.4, "timeout_read": 300, "timeout_connect": 300, "attempts": 1}
    with (
        raw_server(drips(first=b"HTTP/1.1 200 OK\r\n", piece=b"X: 1\r\n")) as address,
        pytest.raises(Transient, match="deadline"),
    ):
        keys(
            puller(
                base_url=f"{scheme}://legacy.example.org",
                http=http,
                environ={"CLINIC_PROXY": f"http://{address}"},
            )
        )


@pytest.mark.parametrize(
    ("proxy", "fate", "says"),
    [
        ("socks5://127.0.0.1:1", Permanent, "http.proxy should begin with"),
        (SECRET, Permanent, "http.proxy should begin with"),
        ("http://", Permanent, "could not be made"),
    ],
)
def test_a_proxy_that_is_none_is_told_without_its_address(
    puller: MakePuller, proxy: str, fate: type[MigrationError], says: str
) -> None:
    with pytest.raises(fate, match=says) as caught:
        keys(puller(base_url=FAR, http=NAMED, environ={"CLINIC_PROXY": proxy}))
    told(caught.value)


def test_a_proxy_that_is_down_is_what_is_asked_about(puller: MakePuller) -> None:
    with nobody_listens() as url:
        address = url.replace("http://", f"http://us:{SECRET}@")
        one = puller(base_url=FAR, http=NAMED, environ={"CLINIC_PROXY": address})
        with pytest.raises(Transient, match=r"is http\.proxy right") as caught:
            keys(one)
    told(caught.value)


def test_a_proxy_that_refuses_us_is_what_is_asked_about(
    other: LegacyServer, puller: MakePuller
) -> None:
    other.answers("/api/rows", Reply(b"", 407))
    with pytest.raises(Permanent, match=r"407: the proxy .* is http\.proxy right"):
        keys(puller(base_url=FAR, http=NAMED, environ={"CLINIC_PROXY": other.url}))


def test_a_password_in_a_proxy_s_address_is_refused(puller: MakePuller) -> None:
    with pytest.raises(Permanent, match=r"http\.proxy: an address with a password takes") as caught:
        puller(http={"proxy": f"http://us:{SECRET}@127.0.0.1:1"})
    told(caught.value)
