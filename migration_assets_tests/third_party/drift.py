"""The experiment: a writer changes a server while the replica pulls it; then both are compared."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from migration_assets_tests.third_party import datasette, drf_app, json_server, kinto
from migration_assets_tests.third_party.people import YEAR, Seed, Server, Writer, seeds, utc_now
from migration_assets_tests.third_party.replica import Replica

_DESCRIPTIONS = Path(__file__).parent / "descriptions"

_SWEEPS = 2  # absence that the source cannot be asked about is believed the second time


class _Described(Server, Protocol):
    @property
    def environ(self) -> Any:
        """What its description names."""


START: dict[str, Callable[[Path, Sequence[Seed]], AbstractContextManager[_Described]]] = {
    "kinto": kinto.start,
    "json_server": json_server.start,
    "datasette": datasette.start,
    "drf": drf_app.start,
}
"""How each server is started, by the name of its description."""


@dataclass(frozen=True)
class Size:
    """How much of it: rows per stream, rounds of pulling, changes made at least meanwhile.

    ``pause`` is how many seconds the writer rests after each change.
    """

    rows: int
    rounds: int
    changes: int
    pause: float = 0


@dataclass(frozen=True)
class Difference:
    """How the account differs from the source, in rows."""

    lost: int
    stale: int
    ghosts: int
    quarantined: int


@dataclass(frozen=True)
class Drift:
    """What was done and what came of it."""

    server: str
    rows: int
    changes: int
    changes_per_second: float
    requests: int
    pulls: int
    sweeps: int
    given_up: int
    before_sweep: Difference
    after: Difference


def measure(name: str, size: Size, folder: Path, *, seed: int) -> Drift:
    """Pull and sweep a server while it is changed, then once more in quiet, and compare."""
    now = utc_now()
    with START[name](folder, seeds(size.rows, seed=seed, now=now)) as server:
        description = _DESCRIPTIONS / f"{name}.yaml"
        begins = now - YEAR / 6  # most rows lie before, in one long window: pages drift in it
        with Replica(description, server.environ, folder, begins) as replica:
            with Writer(server, size.rows, seed=seed, pause=size.pause) as writer:
                rounds = 0
                while rounds < size.rounds or (writer.changes < size.changes and writer.at_work):
                    replica.follow()
                    rounds += 1
                    if rounds == size.rounds // 2:
                        replica.sweep()
            replica.follow()
            before = _difference(server, replica)
            for _ in range(_SWEEPS):
                if not replica.sweep():
                    break
            return Drift(
                server=name,
                rows=size.rows * len(server.streams),
                changes=writer.changes,
                changes_per_second=writer.changes / writer.seconds,
                requests=replica.puller.requests_made,
                pulls=replica.pulls,
                sweeps=replica.sweeps,
                given_up=replica.given_up,
                before_sweep=before,
                after=_difference(server, replica),
            )


def _difference(server: Server, replica: Replica) -> Difference:
    lost = stale = ghosts = quarantined = 0
    for stream in server.streams:
        there, here = server.rows(stream), replica.live(stream)
        lost += len(there.keys() - here.keys())
        ghosts += len(here.keys() - there.keys())
        stale += sum(here[key] != row for key, row in there.items() if key in here)
        quarantined += replica.quarantined(stream)
    return Difference(lost, stale, ghosts, quarantined)
