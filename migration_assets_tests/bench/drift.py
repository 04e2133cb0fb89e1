"""`make bench-drift`: servers we did not write, pulled while a writer changes them, in one table.

Each server twice: with a writer that never rests, and with one as busy as a clinic. LOST, STALE and
GHOSTS are rows by which the account differs from the source at the end, after a last pull and a
sweep with nobody writing; «unswept» is the same before that sweep (there was one while the writer
was at work). «gave up» are pulls and sweeps that found rows moving too fast and said so.
MIGRATION_BENCH_SCALE scales rows and changes.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from migration_assets_tests.bench.__main__ import OUT
from migration_assets_tests.bench.figures import Figure, keep
from migration_assets_tests.third_party.drift import START, Drift, Size, measure

_ROWS, _STREAMS = 3_000, {"kinto": 2, "json_server": 2, "datasette": 2, "drf": 3}
_PACES = {"never rests": (600, 0.0), "a busy clinic": (150, 0.1)}
"""Changes made at least, and the rest after each in seconds."""

_HEAD = (
    f"{'server':<12} {'writer':<14} {'rows':>6} {'changes':>8} {'per s':>6} {'requests':>9} "
    f"{'pulls':>6} {'sweeps':>7} {'gave up':>8} {'LOST':>5} {'STALE':>6} {'GHOSTS':>7}   unswept"
)


def main(scale: float) -> None:
    """Measure every server, print the table line by line, keep the worst of both writers."""
    _say(_HEAD)
    for server in START:
        found = [_measured(server, pace, scale) for pace in _PACES]
        keep(_figures(server, found), OUT)
    _say(f"written to {OUT}")


def _measured(server: str, pace: str, scale: float) -> Drift:
    changes, pause = _PACES[pace]
    rows = max(60, int(_ROWS * scale / _STREAMS[server]))
    size = Size(rows=rows, rounds=6, changes=max(20, int(changes * scale)), pause=pause)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(server, size, Path(folder), seed=1)
    _say(_line(found, pace))
    return found


def _line(found: Drift, pace: str) -> str:
    end, unswept = found.after, found.before_sweep
    return (
        f"{found.server:<12} {pace:<14} {found.rows:>6,} {found.changes:>8,} "
        f"{found.changes_per_second:>6.0f} {found.requests:>9,} {found.pulls:>6,} "
        f"{found.sweeps:>7} {found.given_up:>8,} {end.lost:>5} {end.stale:>6} {end.ghosts:>7}   "
        f"{unswept.lost}/{unswept.stale}/{unswept.ghosts}"
    )


def _figures(server: str, found: Iterable[Drift]) -> list[Figure]:
    ends = [each.after for each in found]
    values = {
        "lost": max(each.lost for each in ends),
        "stale": max(each.stale for each in ends),
        "ghosts": max(each.ghosts for each in ends),
    }
    return [Figure(f"drift_{name}_{server}", value, most=0) for name, value in values.items()]


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a benchmark's whole purpose


if __name__ == "__main__":
    main(float(os.environ.get("MIGRATION_BENCH_SCALE", "1")))
