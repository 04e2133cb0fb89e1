"""What is on account of a page's keys, before the page lands; and rows given back after a purge.

Belongs here: reading units as landing compares them. Does not belong here: the rules of landing.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.in_bulk import among
from migration_assets.manifest.payload import pack
from migration_assets.manifest.records import chunked
from migration_assets.manifest.schema import units
from migration_assets.manifest.sealing import BARE_BYTES, Seals, seals_of


def stored_units(connection: sa.Connection, stream: str, keys: Sequence[str]) -> dict[str, Any]:
    """The units of these keys, by key, as landing compares them: hashes without masks."""
    columns = (
        units.c.id,
        units.c.key,
        units.c.row_hash,
        units.c.revision,
        units.c.changed_at,
        units.c.deleted,
        units.c.archived,
        units.c.merged_into,
        units.c.reason,
        units.c.seen_run,
        units.c.landed_at,
        units.c.state,
        (sa.func.length(units.c.payload) == 0).label("purged"),
    )
    found: dict[str, Any] = {}
    for part in chunked(keys):
        query = sa.select(*columns).where(
            units.c.stream == stream, among(connection, units.c.key, part)
        )
        found.update((row.key, row) for row in connection.execute(query))
    seals = seals_of(connection)
    if seals.newest is None and all(len(row.row_hash) == BARE_BYTES for row in found.values()):
        return found
    return {key: _unmasked(row, seals) for key, row in found.items()}


def _unmasked(row: Any, seals: Seals) -> Any:
    """The same unit with the hash as it is compared, not as it is stored."""
    return SimpleNamespace(**{**row._mapping, "row_hash": seals.unmask(row.row_hash)})  # noqa: SLF001 - its public name


def last_hash(connection: sa.Connection) -> bytes | None:
    """The hash, as it is stored, of the unit that landed last."""
    query = sa.select(units.c.row_hash).order_by(units.c.id.desc()).limit(1)
    found: bytes | None = connection.execute(query).scalar()
    return found


def row_again(each: Any, known: Any, seals: Seals) -> list[dict[str, Any]]:
    """The payload of a purged row that came again, if this is it: a tombstone holds less."""
    if not known.purged or each.deleted:
        return []
    return [{"unit": known.id, "again": pack(each.json, seals)}]


def put_back(connection: sa.Connection, restored: list[dict[str, Any]]) -> None:
    """Give purged units their payload back."""
    if restored:
        again = sa.bindparam("again", type_=sa.LargeBinary)
        connection.execute(
            sa.update(units).where(units.c.id == sa.bindparam("unit")).values(payload=again),
            restored,
        )
