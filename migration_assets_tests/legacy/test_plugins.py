"""What a description cannot say is Python by name; a name that stands for nothing is told early."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from migration_assets.errors import Permanent
from migration_assets.legacy.auth import FixedCredential
from migration_assets.legacy.pagers import PageRequest, PageSeen
from migration_assets.legacy.plugins import register_auth, register_decoder, register_pager
from migration_assets_tests.legacy.conftest import PERSON, SECRET, MakePuller, keys, told
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply, json_reply


@register_pager("letters")
def letters(
    start: PageRequest, options: Mapping[str, Any]
) -> Generator[PageRequest, PageSeen, None]:
    """Pages by first letter, as no sane API would."""
    for letter in options["letters"]:
        yield replace(start, params=(*start.params, ("letter", letter)))


@register_auth("two-headers")
def two_headers(secrets: Mapping[str, str], options: Mapping[str, Any]) -> FixedCredential:
    """A key and an office."""
    sent = {"X-Key": secrets["key"], "X-Office": options["office"]}
    return FixedCredential(("LEGACY_TOKEN",), sent_headers=sent)


@register_decoder("lines")
def lines(body: bytes) -> Any:
    """One id a line."""
    if not body.endswith(b"\n"):
        raise ValueError(f"cut off: {body.decode()}")
    return {"data": [{"id": line} for line in body.decode().splitlines()]}


PAGER = {"type": "plugin", "options": {"letters": "ab"}}
AUTH = {"type": "plugin", "secrets": {"key": {"env": "LEGACY_TOKEN"}}, "options": {"office": "7"}}
HERE = "migration_assets_tests.legacy.test_plugins:"


@pytest.mark.parametrize("prefix", ["", HERE])
def test_plugins_page_and_authenticate(
    server: LegacyServer, puller: MakePuller, prefix: str
) -> None:
    server.routes["/rows"] = lambda asked: json_reply({"data": [{"id": asked.one("letter")}]})
    auth = {**AUTH, "name": prefix + ("two_headers" if prefix else "two-headers")}
    assert keys(puller({"pager": {**PAGER, "name": prefix + "letters"}}, auth=auth)) == ["a", "b"]
    sent = server.asked[0].headers
    assert (sent["X-Key"], sent["X-Office"]) == (SECRET, "7")


def test_a_decoder_reads_what_is_not_json(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", Reply(b"a\nb\n"), Reply(PERSON.encode()))
    one = puller(http={"decoder": "lines"})
    assert keys(one) == ["a", "b"]
    with pytest.raises(Permanent, match="the decoder cannot read the answer") as caught:
        keys(one)
    told(caught.value)


@pytest.mark.parametrize("name", ["nothing", "no_such_module:x", "migration_assets:nothing"])
def test_a_plugin_that_is_not_there_is_named(puller: MakePuller, name: str) -> None:
    with pytest.raises(Permanent, match="there is no auth plug-in"):
        puller(auth={**AUTH, "name": name})
    with pytest.raises(Permanent, match="there is no decoder plug-in"):
        puller(http={"decoder": name})
    with pytest.raises(Permanent, match="there is no pager plug-in"):
        keys(puller({"pager": {**PAGER, "name": name}}))


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="another pager plug-in is called letters"):
        register_pager("letters")(two_headers)
