"""Landing invented rows, for the tests of profiles and registers."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from migration_assets.demo.nasty_rows import KINDS, Setting
from migration_assets.manifest import Manifest
from migration_assets_tests.manifest.rows import PulledRow

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def land(manifest: Manifest, stream: str, rows: Iterable[PulledRow]) -> None:
    """Land rows in a run of their own."""
    run = manifest.start_run("test", pipeline_version="0")
    manifest.land(stream, rows, run_id=run, reopen=False)


def land_bodies(manifest: Manifest, stream: str, bodies: Sequence[Any], *, key: str = "id") -> None:
    """Land bodies whose key is in the field ``key``; those without one have none."""
    land(manifest, stream, [_pulled(body, key, number) for number, body in enumerate(bodies)])


def land_every_nasty_row(manifest: Manifest) -> None:
    """One of every kind of nasty row, each in its stream."""
    by_stream: dict[str, list[PulledRow]] = {}
    for number, make in enumerate(KINDS.values()):
        setting = Setting(Random(7), number, "P1", 1_700_000_000_000)  # noqa: S311 - invented rows
        for row, _ in make(setting):
            by_stream.setdefault(row.stream, []).append(PulledRow(row.key or None, row.body, NOW))
    for stream, rows in by_stream.items():
        land(manifest, stream, rows)


def _pulled(body: Any, key: str, number: int) -> PulledRow:
    value = body.get(key) if isinstance(body, dict) else None
    usable = str(value) if isinstance(value, str | int) and value != "" else None
    return PulledRow(usable, body, NOW - timedelta(days=number % 400))
