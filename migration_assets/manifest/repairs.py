"""What repairs need of the account: resources to be written again, and who wrote a twin.

Belongs here: that SQL. Does not belong here: deciding on a repair (``repairing``).
"""

from collections.abc import Iterable

import sqlalchemy as sa

from migration_assets.manifest.records import State
from migration_assets.manifest.schema import attempts, targets, units

_WROTE = ("created", "changed", "confirmed", "unchanged")


def reopen_missing(
    connection: sa.Connection, missing: Iterable[tuple[str, str]]
) -> list[tuple[int, str]]:
    """Make the units pending whose resources (token, id) are gone.

    Returns unit and key for each resource.

    As with a deletion that a person approves: the resource is intended anew and comes back under
    the id it had, so that whatever refers to it finds it. A unit that moved on since, that was
    deleted at the source or that a person holds is left alone.
    """
    reopened: list[tuple[int, str]] = []
    for name, fhir_id in missing:
        query = (
            sa.select(targets.c.id, units.c.id.label("unit"), units.c.key)
            .select_from(targets.join(units, units.c.id == targets.c.unit_id))
            .where(
                targets.c.token == name,
                targets.c.fhir_id == fhir_id,
                targets.c.deleted.is_(False),
                targets.c.sent.is_(None),
                units.c.deleted.is_(False),
                units.c.state.in_((State.MIGRATED.value, State.UNCHANGED.value)),
            )
        )
        row = connection.execute(query).first()
        if row is None:
            continue
        connection.execute(sa.update(targets).where(targets.c.id == row.id).values(deleted=True))
        connection.execute(
            sa.update(units)
            .where(units.c.id == row.unit)
            .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
        )
        reopened.append((row.unit, row.key))
    return reopened


def version_we_wrote(connection: sa.Connection, name: str, fhir_id: str) -> str | None:
    """The last version of a resource that an attempt of ours made, if one created it."""
    query = (
        sa.select(attempts.c.event, attempts.c.version_id)
        .where(attempts.c.token == name, attempts.c.fhir_id == fhir_id)
        .where(attempts.c.unit_id.in_(_units_of(name)), attempts.c.event.in_(_WROTE))
        .order_by(attempts.c.id)
    )
    rows = connection.execute(query).all()
    if not any(row.event == "created" for row in rows):
        return None
    version: str | None = rows[-1].version_id
    return version


def _units_of(name: str) -> sa.Select[tuple[int]]:
    """By unit, for which the attempts have an index."""
    return sa.select(targets.c.unit_id).where(targets.c.token == name)
