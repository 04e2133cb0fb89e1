"""Throughput of the product's own way beside loaders that do nothing but send.

The bare loader posts bundles made before the clock starts, as large as the product's, and does not
read their answers: nothing that delivers can be faster one request at a time. The other two are how
people do it: a conditional PUT per resource, and 25 POSTs a bundle (``medplum bulk import``). All
write the same resources to the same server in the same run, in turns; ratios are medians of the
turns. Time is the wall's, of delivery alone: prepare, resolve, deliver, settle.

The sandbox is some forty times faster than a real server, so that our own work would be compared
with little else. Where nothing else is said it takes a real server's time (contract §3, §11).
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import requests

from migration_assets.fhir.identifiers import percent_encoded, search_token
from migration_assets.fhir.references import ConditionalReference, with_references
from migration_assets.manifest import token
from migration_assets.mapping import Resource
from migration_assets.mappings import discover
from migration_assets.medplum.bundles import MAX_ENTRIES
from migration_assets.steps.preparation import preview
from migration_assets_tests.bench.delivery import Delivery, observations
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.meter import Meter
from migration_assets_tests.bench.server import Server

_WRITE_MS = 19  # 52 plain POSTs a second by one client
_SEARCH_MS = 3  # 155 for 1,000 identifiers
_AMONG = 10
_IMPORTED = 25  # resources per request of `medplum bulk import`
_DEAREST = 140

Way = Callable[[str], float]  # a series of identifiers → resources per second


@dataclass(frozen=True)
class Sizes:
    """How many resources each loader writes in a turn, and how many turns there are."""

    number: int
    turns: int


def figures(server: Server, slow: Sizes, fast: Sizes) -> Generator[Figure, None, None]:
    """The three ratios; on the sandbox also the first of them at the sandbox's own speed."""
    with _loaders(server, slow.number) as ways, _as_slow_as_a_real_one(server):
        yield from _ratios(ways, slow.turns)
    if server.sandbox is None:
        return
    with _loaders(server, fast.number, tag="f") as ways:
        speeds = _in_turns({name: ways[name] for name in ("product", "bare")}, fast.turns)
    yield Figure(
        "throughput_vs_bare_loader_at_sandbox_speed",
        _ratio(speeds, "bare"),
        beside=(
            f"{_median(speeds, 'product'):,.0f} of {_median(speeds, 'bare'):,.0f} resources/s: "
            "what the product does besides waiting"
        ),
    )


def _ratios(ways: dict[str, Way], turns: int) -> Generator[Figure, None, None]:
    speeds = _in_turns(ways, turns)
    goals = {"bare": 0.95}
    names = {
        "bare": "throughput_vs_bare_loader",
        "conditional": "throughput_vs_conditional_put_loop",
        "import": "throughput_vs_25_per_bundle_post",
    }
    for way, name in names.items():
        ours, theirs = _median(speeds, "product"), _median(speeds, way)
        yield Figure(
            name,
            _ratio(speeds, way),
            least=goals.get(way),
            beside=f"{ours:.1f} against {theirs:.1f} resources/s",
        )


def _in_turns(ways: dict[str, Way], turns: int) -> dict[str, list[float]]:
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        for name, way in ways.items():
            speeds[name].append(way(f"{name}{turn}-"))
    return speeds


def _ratio(speeds: dict[str, list[float]], way: str) -> float:
    pairs = zip(speeds["product"], speeds[way], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _median(speeds: dict[str, list[float]], way: str) -> float:
    return statistics.median(speeds[way])


@contextmanager
def _loaders(server: Server, number: int, tag: str = "o") -> Iterator[dict[str, Way]]:
    """The four loaders, over observations of three references whose targets are in Medplum."""
    meter = Meter(server)
    session = server.session()
    with tempfile.TemporaryDirectory() as folder:
        delivery = Delivery(server, Path(folder))
        delivery.found(tag, _AMONG)

        def product(series: str) -> float:
            delivery.land("Observation", observations(number, tag, series=series, among=_AMONG))
            return timed(lambda: _migrated(delivery))

        def loader(calls_for: Callable[[list[Resource]], list[_Call]]) -> Way:
            def way(series: str) -> float:
                rows = observations(number, tag, series=series, among=_AMONG)
                calls = calls_for(_resources(delivery, rows))
                return timed(lambda: _send(session, server, calls))

            return way

        def timed(work: Callable[[], None]) -> float:
            meter.make_room(_DEAREST * number)
            started = time.perf_counter()
            work()
            return number / (time.perf_counter() - started)

        yield {
            "product": product,
            "bare": loader(lambda made: _posts(made, MAX_ENTRIES)),
            "conditional": loader(_conditional_puts),
            "import": loader(lambda made: _posts(made, _IMPORTED)),
        }
        delivery.close()


@contextmanager
def _as_slow_as_a_real_one(server: Server) -> Iterator[None]:
    if server.sandbox is not None:
        server.sandbox.change(write_ms=_WRITE_MS, search_ms=_SEARCH_MS)
    yield
    if server.sandbox is not None:
        server.sandbox.change(write_ms=0, search_ms=0)


@dataclass(frozen=True)
class _Call:
    """One request of a loader, ready to be sent."""

    method: str
    path: str
    body: bytes


def _migrated(delivery: Delivery) -> None:
    delivery.migrate("Observation")


def _resources(delivery: Delivery, rows: Sequence[dict[str, Any]]) -> list[Resource]:
    """What the product would send for these rows, references literal."""
    mapping = discover()["Observation"]

    def literal(target: ConditionalReference) -> str:
        name = token(target.resource_type, target.system, target.value)
        return f"{target.resource_type}/{delivery.manifest.known_ids([name])[name]}"

    made = (preview(mapping, "", each).resources[0] for each in rows)
    return [with_references(each, literal) for each in made]


def _posts(resources: list[Resource], size: int) -> list[_Call]:
    calls = []
    for start in range(0, len(resources), size):
        entries = [
            {"request": {"method": "POST", "url": each["resourceType"]}, "resource": each}
            for each in resources[start : start + size]
        ]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        calls.append(_Call("POST", "", orjson.dumps(bundle)))
    return calls


def _conditional_puts(resources: list[Resource]) -> list[_Call]:
    calls = []
    for each in resources:
        own = each["identifier"][0]
        criterion = percent_encoded(search_token(own["system"], own["value"]))
        path = f"/{each['resourceType']}?identifier={criterion}"
        calls.append(_Call("PUT", path, orjson.dumps(each)))
    return calls


def _send(session: requests.Session, server: Server, calls: list[_Call]) -> None:
    for each in calls:
        answer = session.request(each.method, server.fhir + each.path, data=each.body, timeout=120)
        answer.raise_for_status()
