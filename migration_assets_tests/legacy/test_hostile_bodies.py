"""Hostile bodies: not JSON, cut off, packed, dripping, without end. The other half of the table."""

import gzip
import itertools
import time as real_time
from collections.abc import Iterator

import pytest

from migration_assets.errors import Permanent, Transient
from migration_assets_tests.legacy.conftest import PERSON, MakePuller, keys, told
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply, json_reply

PAGE = json_reply({"data": [{"id": 1, "name": PERSON}]})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>Maintenance " + PERSON.encode(), "HTML"),
        (b"", "not JSON"),
        (PERSON.encode(), "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_page_that_is_not_json_is_told_soon_and_asks_for_the_base_url(
    server: LegacyServer, puller: MakePuller, body: bytes, says: str
) -> None:
    server.answers("/rows", Reply(body))
    with pytest.raises(Permanent, match=rf"{says}.*3 attempts; is base_url right") as caught:
        keys(puller())
    told(caught.value)


@pytest.mark.parametrize("levels", [300, 1_000, 10_000])
@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("beside", [b"1", b"NaN"])
def test_a_row_nested_deeper_than_it_can_be_written_again_is_refused(
    server: LegacyServer,
    puller: MakePuller,
    levels: int,
    opens: bytes,
    closes: bytes,
    beside: bytes,
) -> None:
    """Python's parsers read up to 1,024 levels, of which the account could write 254."""
    nested = opens * levels + b"1" + closes * levels
    body = b'{"data": [{"id": 1, "beside": %s, "nested": %s}]}' % (beside, nested)
    server.answers("/rows", Reply(body))
    with pytest.raises(Permanent, match=r"nested too deep|not JSON"):
        keys(puller())


def test_a_row_of_many_levels_is_read(server: LegacyServer, puller: MakePuller) -> None:
    nested = b"[" * 200 + b"]" * 200
    server.answers("/rows", Reply(b'{"data": [{"id": 1, "nested": %s}]}' % nested))
    assert keys(puller()) == ["1"]


def test_a_maintenance_page_that_goes_away_costs_nothing(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", Reply(b"<html>"), PAGE)
    assert keys(puller()) == ["1"]


def test_a_body_that_is_cut_off_is_fetched_again(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", Reply(b'{"data": [', missing=500), PAGE)
    assert keys(puller()) == ["1"]


def test_a_cut_that_leaves_valid_json_is_noticed(server: LegacyServer, puller: MakePuller) -> None:
    """Content-Length alone tells that rows are missing from what parses."""
    server.answers("/rows", Reply(b'{"data": []}', missing=500), PAGE)
    assert keys(puller()) == ["1"]


def test_bodies_cut_off_for_ever_are_transient(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", Reply(b'{"data": [' + PERSON.encode(), missing=500))
    with pytest.raises(Transient, match=r"no complete answer.*6 attempts") as caught:
        keys(puller())
    told(caught.value)


@pytest.mark.parametrize(
    "packed",
    # mtime=0: two test workers must make the same bytes, or they collect different tests
    [b"", gzip.compress(b'{"data": []}', mtime=0)[:-4], b"not gzip"],
    ids=["empty", "cut", "not-gzip"],
)
def test_gzip_that_is_cut_or_broken_is_fetched_again(
    server: LegacyServer, puller: MakePuller, packed: bytes
) -> None:
    server.answers("/rows", Reply(packed, headers={"Content-Encoding": "gzip"}), PAGE)
    assert keys(puller()) == ["1"]


def test_gzip_of_several_members_is_read_whole(server: LegacyServer, puller: MakePuller) -> None:
    packed = gzip.compress(b'{"data": [{"id"') + gzip.compress(b": 1}]}")
    server.answers("/rows", Reply(packed, headers={"Content-Encoding": "gzip"}))
    assert keys(puller()) == ["1"]


def test_a_packing_nobody_asked_for_is_refused(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", Reply(b"x", headers={"Content-Encoding": "br"}))
    with pytest.raises(Permanent, match="packed"):
        keys(puller())


def test_a_drip_fed_body_ends_at_the_deadline(server: LegacyServer, puller: MakePuller) -> None:
    """Every byte comes within the read timeout, so only a total deadline can end it."""

    def drip() -> Iterator[bytes]:
        while True:
            yield b" "
            real_time.sleep(0.02)

    server.routes["/rows"] = lambda _: Reply(drip=drip())
    with pytest.raises(Transient, match="deadline"):
        keys(puller(http={"deadline": 0.3}))
    assert len(server.asked) == 1


def test_a_silent_server_ends_at_the_read_timeout(server: LegacyServer, puller: MakePuller) -> None:
    def silence() -> Iterator[bytes]:
        server.stopping.wait(10)
        yield b""

    server.routes["/rows"] = lambda _: Reply(drip=silence())
    with pytest.raises(Transient, match="no complete answer"):
        keys(puller(http={"timeout_read": 0.1, "attempts": 1}))


def test_a_body_without_end_stops_at_the_bound(server: LegacyServer, puller: MakePuller) -> None:
    server.routes["/rows"] = lambda _: Reply(drip=itertools.repeat(b"x" * 65536))
    with pytest.raises(Permanent, match="larger than 1000000 bytes"):
        keys(puller(http={"max_bytes": 1_000_000}))
    assert len(server.asked) == 1


def test_a_gzip_bomb_stops_at_the_bound(server: LegacyServer, puller: MakePuller) -> None:
    bomb = gzip.compress(b" " * 200_000_000, compresslevel=1)
    server.answers("/rows", Reply(bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(Permanent, match="larger than 1000000 bytes"):
        keys(puller(http={"max_bytes": 1_000_000}))
