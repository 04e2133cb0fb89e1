"""Quota points per resource, by the server's account, along the product's own way.

Look-ups included: what a run spends is what it costs. Requests per 1,000 resources beside it.
"""

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migration_assets.adoption import Strategy
from migration_assets_tests.bench.delivery import Delivery, Rows, observations, patients
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.meter import Meter
from migration_assets_tests.bench.server import Server

_DEAREST = 220  # points of one new resource with three conditional references
_AMONG = 10


@dataclass(frozen=True)
class Cost:
    """What so many resources cost."""

    points: float
    requests: float

    @property
    def words(self) -> str:
        """The requests, beside the points."""
        return f"{self.requests * 1000:.1f} requests per 1,000"


def figures(server: Server, number: int) -> Generator[Figure, None, None]:
    """Points per new, changed and unchanged resource; ``number`` of each are written."""
    with _measuring(server) as cost:
        new = cost("Patient", patients(number, "m"))
        yield _figure("points_per_new_no_references", new, most=102)
        three = cost("Observation", observations(number, "t", series="X", among=_AMONG))
        yield _figure("points_per_new_three_references_exclusive", three, most=102)
        shared = cost(
            "Observation", observations(number, "t", series="S", among=_AMONG), Strategy.SHARED
        )
        yield _figure("points_per_new_three_references_shared", shared, most=142)
        changed = cost("Patient", patients(number, "m", phone="+1 555 0121"))
        yield _figure("points_per_changed", changed, most=102)
        unchanged = cost("Patient", patients(number, "m", phone="+1 555 0121"))
        yield _figure("points_per_unchanged", unchanged, most=0)
        yield Figure("requests_per_1000_new", new.requests * 1000, "requests")
    with _measuring(server, stranger="t") as cost:
        looked_up = cost("Observation", observations(number, "t", series="L", among=_AMONG))
        yield _figure("points_per_new_three_references_looked_up", looked_up, most=102)


def _figure(name: str, cost: Cost, most: float) -> Figure:
    return Figure(name, cost.points, "points", most=most, beside=cost.words)


@contextmanager
def _measuring(server: Server, stranger: str | None = None) -> Iterator[Callable[..., Cost]]:
    """A way to land rows and measure their delivery, on an account of its own.

    What observations refer to is on the account; with ``stranger`` it is in Medplum only, as if
    somebody else had written it.
    """
    meter = Meter(server)
    with tempfile.TemporaryDirectory() as folder:
        delivery = Delivery(server, Path(folder))
        if stranger is None:
            delivery.found("t", _AMONG)

        def cost(kind: str, rows: Rows, strategy: Strategy = Strategy.EXCLUSIVE) -> Cost:
            delivery.land(kind, rows)
            before = delivery.client.requests_made
            points = meter.spent_by(
                lambda: _delivered(delivery, kind, strategy), at_most=_DEAREST * len(rows)
            )
            requests = delivery.client.requests_made - before
            return Cost(points / len(rows), requests / len(rows))

        yield cost
        delivery.close()


def _delivered(delivery: Delivery, kind: str, strategy: Strategy) -> None:
    delivery.migrate(kind, strategy)
