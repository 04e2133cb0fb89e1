"""Whatever a source answers and whatever a description says: rows, a quarantine or a clear error.

Responses and descriptions are spoiled, seeded; ``MIGRATION_FUZZ_CASES`` asks for more than 10,000.
A case fails if anything but a ``MigrationError`` is raised, if an error or a log line holds a
canary, if a row has neither key nor problem or could not be landed, or if the pull does not end.
"""

import datetime as dt
import itertools
import logging
import os
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from migration_assets.errors import MigrationError
from migration_assets.legacy.description import Source, load_description
from migration_assets.legacy.pull import Puller
from migration_assets.legacy.rows import PulledRow
from migration_assets.manifest.payload import canonical, pack, unpack
from migration_assets_tests.legacy.conftest import PERSON, QUERY, SECRET, VirtualTime, told
from migration_assets_tests.legacy.fuzz_mutations import Spoiler, spoiled_description, unspoiled
from migration_assets_tests.legacy.fuzz_scenarios import BASE, SCENARIOS, environ_for
from migration_assets_tests.legacy.fuzz_source import ROWS, Asked, Parts, honest
from migration_assets_tests.legacy.fuzz_wire import Respond, wire
from migration_assets_tests.legacy.raw_server import raw_server

CASES = max(10_000, int(os.environ.get("MIGRATION_FUZZ_CASES", "0")))
CHUNK = 500  # cases a test
OVER_SOCKETS = 300
OF_DESCRIPTIONS = CASES * 3 // 10
OF_RESPONSES = CASES - OF_DESCRIPTIONS - OVER_SOCKETS
MOST_REQUESTS = 1_000
LONGEST_SLEEP = 400 * 86_400.0
SINCE = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)


class _Canaries(logging.Handler):
    """Fails at a log line that holds what must not be in one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.getMessage()} {record.exc_info}"
        for canary in (SECRET, PERSON, QUERY):
            assert canary not in text, f"{record.name} logged {canary}"


@pytest.fixture(autouse=True)
def _looked_through() -> Iterator[None]:
    """Everything that is logged, but for debugging, is looked through."""
    handler, root = _Canaries(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield
    root.removeHandler(handler)
    root.setLevel(level)


class _Sane(VirtualTime):
    """Time that no one may sleep away."""

    def sleep(self, seconds: float) -> None:
        """Remember and move on."""
        assert 0 <= seconds <= LONGEST_SLEEP, f"slept {seconds} s"
        super().sleep(seconds)


def pulled(
    source: Source, stream: str, respond: Respond | None, base: str = BASE
) -> list[PulledRow]:
    """Every row of a stream, landed for trial and marked as read; by sockets if not ``respond``."""
    time = _Sane()
    puller = Puller(source, environ=environ_for(source, base), clock=time.clock, sleep=time.sleep)
    if respond is not None:
        wire(puller, respond)
    described = source.stream(stream)
    since = SINCE if described.cursor is not None or described.queue is not None else None
    parents = ["7", "8"] if described.parent is not None else None
    try:
        pages = puller.pages(stream, since, None, parents=parents)
        found = itertools.chain(pages, puller.acknowledge(stream))
        rows = [row for page in found for row in page.rows]
    finally:
        puller.close()
    for row in rows:
        assert (row.key is None) <= (row.problem is not None)
        unpack(pack(canonical(row.row)))
    return rows


def outcome_of(case: str, pull: Callable[[], list[PulledRow]]) -> str:
    """``rows``, ``quarantine`` or ``error``; whatever else happens is named with its case."""
    try:
        rows = pull()
    except MigrationError as error:
        told(error)
        return "error"
    except Exception as error:
        raise AssertionError(case) from error
    return "quarantine" if any(row.problem for row in rows) else "rows"


def responding(
    source: Source, stream: str, written: Callable[[Parts], bytes], base: str = BASE
) -> Respond:
    """Answers as an honest source does, written to the wire by ``written``."""
    described, counter = source.stream(stream), itertools.count()

    def respond(raw: bytes) -> bytes:
        assert next(counter) < MOST_REQUESTS, "the pull does not end"
        return written(honest(described, Asked.parse(raw), base))

    return respond


def _chunks(cases: int) -> list[range]:
    return [range(first, min(first + CHUNK, cases)) for first in range(0, cases, CHUNK)]


def test_an_honest_source_is_pulled_in_every_scenario() -> None:
    """Else the fuzzer would spoil what is wrong already."""
    for scenario in SCENARIOS:
        source = scenario.source
        rows = pulled(source, scenario.stream, responding(source, scenario.stream, unspoiled))
        assert [row.problem for row in rows if row.problem] == [], scenario.name
        assert len({row.key for row in rows}) == ROWS, scenario.name


@pytest.mark.parametrize("seeds", _chunks(OF_RESPONSES), ids=str)
def test_a_spoiled_response_gives_an_error_a_quarantine_or_rows(seeds: range) -> None:
    outcomes = Counter(_of_response(seed) for seed in seeds)
    assert outcomes.total() == len(seeds)
    if len(seeds) == CHUNK:
        assert set(outcomes) == {"rows", "quarantine", "error"}


def _of_response(seed: int) -> str:
    scenario = SCENARIOS[seed % len(SCENARIOS)]
    source, stream = scenario.source, scenario.stream
    respond = responding(source, stream, Spoiler(seed).response)
    return outcome_of(f"{seed} {scenario.name}", lambda: pulled(source, stream, respond))


@pytest.mark.parametrize("seeds", _chunks(OF_DESCRIPTIONS), ids=str)
def test_a_spoiled_description_is_refused_or_pulls(seeds: range) -> None:
    """The source goes on answering as the description says that it was spoiled from."""
    outcomes = Counter(_of_description(seed) for seed in seeds)
    assert outcomes.total() == len(seeds)
    if len(seeds) == CHUNK:
        assert {"rows", "error"} <= set(outcomes)


def _of_description(seed: int) -> str:
    scenario = SCENARIOS[seed % len(SCENARIOS)]
    generator = random.Random(seed)  # noqa: S311  equal seeds must spoil equally
    described: Any = scenario.described
    for _ in range(generator.choice([1, 1, 1, 2])):
        described = spoiled_description(described, generator)
    respond = responding(scenario.source, scenario.stream, unspoiled)

    def pull() -> list[PulledRow]:
        source = load_description(yaml.safe_dump(described) + "\n")
        names = [one.name for one in source.streams]
        name = scenario.stream if scenario.stream in names or not names else names[0]
        return pulled(source, name, respond)

    return outcome_of(f"{seed} {scenario.name}", pull)


def test_spoiled_responses_over_sockets_give_an_error_a_quarantine_or_rows() -> None:
    """The same cases as without sockets."""
    respond: list[Respond] = []

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        connection.settimeout(5)
        connection.sendall(respond[0](_request_from(connection)))

    outcomes: Counter[str] = Counter()
    with raw_server(serve) as address:
        base = f"http://{address}/api"
        for seed in range(OVER_SOCKETS):
            scenario = SCENARIOS[seed % len(SCENARIOS)]
            source, stream = scenario.source, scenario.stream
            respond[:] = [responding(source, stream, Spoiler(seed).response, base)]
            pull = partial(pulled, source, stream, None, base)
            outcomes[outcome_of(f"{seed} {scenario.name} over a socket", pull)] += 1
    assert outcomes.total() == OVER_SOCKETS


def _request_from(connection: socket.socket) -> bytes:
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += connection.recv(65536)
    head, _, body = raw.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    while len(body) < (int(length[1]) if length else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def test_there_are_ten_thousand_cases() -> None:
    seeds = [seed for cases in (OF_RESPONSES, OF_DESCRIPTIONS) for seed in _chunks(cases)]
    assert sum(map(len, seeds)) + OVER_SOCKETS == CASES >= 10_000
