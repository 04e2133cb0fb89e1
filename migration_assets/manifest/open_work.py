"""How much is still to be delivered, counted for an estimate of what it will take.

Belongs here: counting pending units by what Medplum holds of them. Does not belong here: what
delivering one costs.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from migration_assets.manifest.records import State
from migration_assets.manifest.schema import targets, units


@dataclass(frozen=True)
class OpenWork:
    """Pending units of one stream: those Medplum holds nothing of, and those it does."""

    new: int = 0
    changed: int = 0


def open_work(connection: sa.Connection) -> dict[str, OpenWork]:
    """The open work by stream; rows deleted before they were ever delivered are none."""
    held = sa.exists().where(
        targets.c.unit_id == units.c.id,
        targets.c.fhir_id.is_not(None),
        targets.c.deleted.is_(False),
    )
    pending = (
        sa.select(units.c.stream, units.c.deleted, held.label("held"))
        .where(units.c.state == State.PENDING.value)
        .subquery()
    )
    counted = sa.select(
        pending.c.stream,
        sa.func.sum(sa.case((pending.c.held, 1), else_=0)).label("changed"),
        sa.func.sum(sa.case((sa.or_(pending.c.held, pending.c.deleted), 0), else_=1)).label("new"),
    ).group_by(pending.c.stream)
    return {
        row.stream: OpenWork(int(row.new), int(row.changed)) for row in connection.execute(counted)
    }
