"""What it costs the source to be asked: requests of an idle poll, and of a walk.

Belongs here: counting requests. Does not belong here: their speed, which is the source's.
"""

import math
from collections.abc import Generator
from datetime import UTC, datetime, timedelta

import yaml

from migration_assets.legacy import Puller, load_description
from migration_assets.mappings import discover
from migration_assets.pipeline import land
from migration_assets.run import Way, Window
from migration_assets_tests.bench.clinic import founded
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply

_START = datetime(2024, 1, 1, tzinfo=UTC)
_PATIENTS = 40  # more rows change nothing: an idle poll asks for none of them
_WALK_PAGE = 100


def figures(scale: float) -> Generator[Figure, None, None]:
    """Both figures; neither depends on the machine."""
    requests, streams = idle_poll(max(10, int(_PATIENTS * scale)))
    yield Figure(
        "requests_per_idle_stream",
        requests / streams,
        "requests",
        most=1,
        beside=f"{requests} requests for {streams} streams, none with a change",
    )
    rows = max(3 * _WALK_PAGE, int(10_000 * scale))
    requests, seen = walk(rows)
    least = math.ceil(rows / _WALK_PAGE)
    yield Figure(
        "requests_per_walk_of_minimum",
        requests / least,
        "times",
        beside=f"{requests} requests for {seen} of {rows} rows, {_WALK_PAGE} a page; least {least}",
    )


def idle_poll(patients: int) -> tuple[int, int]:
    """Requests of one incremental pull of every demo stream when nothing changed, and streams.

    The marks are those of a backfill that reached now, and of one incremental pull after it.
    """
    mappings = discover().values()
    with founded(patients) as place:
        run = place.run()
        for each in mappings:
            land(run, each, Window(None, None))
        for each in mappings:
            land(run, each, _since_the_mark(place.manifest.high_water_mark(each.stream)))
        before = place.puller.requests_made
        for each in mappings:
            landed = land(run, each, _since_the_mark(place.manifest.high_water_mark(each.stream)))
            if landed.new or landed.changed:
                raise AssertionError(f"{each.stream} is not idle")
        return place.puller.requests_made - before, len(mappings)


def _since_the_mark(mark: datetime | None) -> Window:
    if mark is None:
        raise AssertionError("a whole window seeds the mark")
    # The demo's description has its streams read a minute twice.
    return Window(mark - timedelta(seconds=60), None, way=Way.INCREMENTAL)


def walk(rows: int) -> tuple[int, int]:
    """Requests of one walk over so many rows, each with an instant of its own; and rows seen."""
    table = [
        {"id": number, "changed": f"{_START + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}"}
        for number in range(rows)
    ]

    def serve(asked: Asked) -> Reply:
        since, start = asked.one("since"), _WALK_PAGE * (int(asked.one("page", "1")) - 1)
        kept = [each for each in table if str(each["changed"]) >= since]
        return json_reply({"rows": kept[start : start + _WALK_PAGE], "total": len(kept)})

    with LegacyServer() as server:
        server.routes["/rows"] = serve
        puller = Puller(load_description(yaml.safe_dump(_walked(server.url))), environ={})
        keys = {row.key for page in puller.pages("rows", _START, None) for row in page.rows}
        made = puller.requests_made
        puller.close()
    return made, len(keys)


def _walked(url: str) -> dict[str, object]:
    """A description that walks by change time, as one of ours would read."""
    inside = {"type": "page", "size_param": "limit", "size": _WALK_PAGE, "total": "total"}
    return {
        "name": "walked",
        "base_url": url,
        "auth": {"type": "none"},
        "streams": [
            {
                "name": "rows",
                "path": "rows",
                "select": "rows",
                "id": "id",
                "pager": {"type": "walk", "within_tie": inside},
                "cursor": {"field": "changed", "param": "since", "lookback_seconds": 60},
            }
        ],
    }
