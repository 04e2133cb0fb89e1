"""What it costs to compare a type with Medplum, and how fast that goes.

Belongs here: whole comparisons of a migrated type, by the server's own account of points. Does not
belong here: deliveries. The floor is paging through the same resources with the bare client and
doing nothing with them: what no comparison can be faster than.
"""

import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

from migration_assets.mappings import discover
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.referenced import check_references
from migration_assets_tests.bench.delivery import Delivery, observations
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.meter import Meter
from migration_assets_tests.bench.server import sandbox_server

_RESOURCES = 4_000  # more by content would outlast a quota window on a busy machine
_MOST_POINTS = 0.05  # per resource
_AMONG = 500
_PAGES_AT_LEAST = 3


def figures(scale: float) -> Generator[Figure, None, None]:
    """Points and resources per second: identifiers, content, references."""
    number = max(20, int(_RESOURCES * scale))
    among = max(2, min(_AMONG, number // 20))
    with sandbox_server() as server, tempfile.TemporaryDirectory() as folder:
        meter = Meter(server)
        delivery = Delivery(server, Path(folder))
        delivery.found("t", among)
        delivery.land("Observation", observations(number, "t", series="R", among=among))
        delivery.migrate("Observation")
        mapping, manifest, client = discover()["Observation"], delivery.manifest, delivery.client

        def floor() -> None:
            for _page in Asker(client).everything("Observation"):
                pass

        def measured(work: Callable[[], None]) -> tuple[float, float]:
            took: list[float] = []

            def timed() -> None:
                began = time.perf_counter()
                work()
                took.append(time.perf_counter() - began)

            points = meter.spent_by(timed, at_most=max(1_000, number))
            return points / number, number / took[-1]

        def comparing(*, deep: bool) -> None:
            found = compare(manifest, client, mapping, deep=deep, clock=server.now)
            _expect(agrees=found.agrees)

        def referring() -> None:
            found = check_references(manifest, client, mapping, clock=server.now)
            _expect(agrees=found.agrees)

        _floor_points, floor_speed = measured(floor)
        for name, work in (
            ("reconcile", lambda: comparing(deep=False)),
            ("reconcile_deep", lambda: comparing(deep=True)),
            ("reconcile_references", referring),
        ):
            points, speed = measured(work)
            beside = f"{speed / floor_speed:.2f} of bare paging ({floor_speed:,.0f}/s)"
            yield Figure(
                f"{name}_points_per_resource",
                points,
                "points",
                most=_MOST_POINTS if number >= _PAGES_AT_LEAST * 1_000 else None,
            )
            yield Figure(f"{name}_resources_per_second", speed, "1/s", beside=beside)
            yield Figure(f"{name}_vs_bare_paging", speed / floor_speed)
        delivery.close()


def _expect(*, agrees: bool) -> None:
    if not agrees:
        raise AssertionError("what was just migrated must agree with Medplum")
