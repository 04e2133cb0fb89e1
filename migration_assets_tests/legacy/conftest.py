"""Fixtures of the legacy room: servers, a clock that does not wait, pullers that are closed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from migration_assets.legacy.description import load_description
from migration_assets.legacy.pull import Puller
from migration_assets_tests.legacy.legacy_server import LegacyServer

SECRET = "canary-secret-7f3a"
PERSON = "Zebulon-Canary"
QUERY = "canary-query-91"

MakePuller = Callable[..., Puller]


@dataclass
class VirtualTime:
    """A clock that moves only when someone sleeps."""

    now: float = 1_700_000_000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Remember and move on."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> Iterator[LegacyServer]:
    with LegacyServer() as running:
        yield running


@pytest.fixture
def other() -> Iterator[LegacyServer]:
    """Another host, which must never hear our credential."""
    with LegacyServer("127.0.0.2") as running:
        yield running


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def puller(server: LegacyServer, time: VirtualTime) -> Iterator[MakePuller]:
    """Makes a puller for the test server: stream fields and source parts as keywords."""
    made: list[Puller] = []

    def make(
        stream: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        base_url: str = server.url,
        **source: Any,
    ) -> Puller:
        described = {
            "name": "clinic",
            "base_url": base_url,
            "auth": {"type": "bearer", "token": {"env": "LEGACY_TOKEN"}},
            "streams": [
                {
                    "name": "patients",
                    "path": "rows",
                    "select": "data",
                    "id": "id",
                    "params": {"filter": QUERY},
                    **(stream or {}),
                }
            ],
            **source,
        }
        one = Puller(
            load_description(yaml.safe_dump(described)),
            environ={"LEGACY_TOKEN": SECRET, **(environ or {})},
            clock=time.clock,
            sleep=time.sleep,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def keys(puller: Puller, stream: str = "patients") -> list[str | None]:
    """Every key of a stream, in order."""
    return [row.key for page in puller.pages(stream, None, None) for row in page.rows]


def told(error: BaseException) -> str:
    """All that an error could tell, chained errors included; checked to hold no canary."""
    texts: list[str] = []
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None:
            texts.append(f"{one!r} {one}")
            left += [one.__cause__, one.__context__]
    text = " ".join(texts)
    for canary in (SECRET, PERSON, QUERY):
        assert canary not in text
    return text
