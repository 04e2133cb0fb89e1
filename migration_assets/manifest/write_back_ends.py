"""How a write-back ends on account: the debt, the unit's row and its resource in one transaction.

Belongs here: what is written down when a debt is settled, or decided by a person. Does not belong
here: noting and reading debts (``write_backs``).
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest import landing
from migration_assets.manifest.account import settle as settle_units
from migration_assets.manifest.records import Alongside, LandingRow, Settlement, State, Target
from migration_assets.manifest.schema import targets, units
from migration_assets.manifest.write_back_tables import write_backs

BOTH_SIDES = "edited-on-both-sides"
"""Reason of a unit whose row and resource were both edited: a person decides which one counts."""
SUPERSEDED = "superseded"
"""Reason of a debt whose edit is part of a later version, which is a debt of its own."""
LEGACY_KEPT = "legacy-kept"
"""Reason of a debt of which a person decided that the legacy system's version counts."""


class WriteBack(enum.StrEnum):
    """Where a change in Medplum stands."""

    OPEN = "open"
    WRITTEN = "written"
    UNCHANGED = "unchanged"  # the legacy system says the same already
    CONFLICT = "conflict"  # it says something else than what was changed
    REFUSED = "refused"  # it cannot be said there, or was not taken
    SKIPPED = "skipped"


class Choice(enum.StrEnum):
    """What a person decides of a debt."""

    MEDPLUM = "medplum"  # of a conflict: Medplum's version is written over the legacy one
    LEGACY = "legacy"  # of a conflict: the legacy one stays, and Medplum owes it
    RETRY = "retry"  # of one refused: once more
    ACCEPT = "accept"  # it need not arrive


@dataclass(frozen=True, kw_only=True)
class Debt:
    """A change in Medplum, and how it stands."""

    id: int
    resource_type: str
    fhir_id: str
    version_id: str
    kind: str
    state: WriteBack
    reason: str | None
    field: str | None
    unit_id: int | None
    token: str | None
    key: str | None
    versions: Sequence[Mapping[str, Any]]
    seen_at: datetime
    attempts: int
    sent: bool
    choice: Choice | None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The end of a debt, or why it stays open.

    ``row`` is what the legacy system holds now: it becomes what the unit's row is on account, of
    ``stream``; ``target`` is the resource that says the same, or the one it is in conflict with.
    """

    debt: Debt
    state: WriteBack
    reason: str | None = None
    field: str | None = None
    stream: str = ""
    row: LandingRow | None = None
    target: Target | None = None
    mapping_version: str | None = None


def settle(connection: sa.Connection, settled: Settled, *, run_id: int, now: int) -> None:
    """Land the row, settle its unit, and the debt; twice is as good as once."""
    debt, unit_id = settled.debt, settled.debt.unit_id
    if settled.row is not None:
        # Read later than whatever this run landed of the unit: not a second row of the same time.
        connection.execute(
            sa.update(units)
            .where(units.c.stream == settled.stream, units.c.key == settled.row.key)
            .values(seen_run=0)
        )
        landing.land(
            connection,
            settled.stream,
            [settled.row],
            run_id=run_id,
            now=now,
            reopen=False,
            alongside=Alongside(),
        )
        unit_id = _settle_unit(connection, settled, run_id=run_id, now=now)
    elif settled.target is not None and settled.state is WriteBack.UNCHANGED and unit_id:
        # No row came: only what Medplum holds is another version of the same.
        same = Settlement(
            unit_id=unit_id, revision=-1, state=State.UNCHANGED, targets=(settled.target,)
        )
        settle_units(connection, [same], run_id=run_id, now=now)
    ended = settled.state is not WriteBack.OPEN
    connection.execute(
        sa.update(write_backs)
        .where(write_backs.c.id == debt.id)
        .values(
            state=settled.state.value,
            reason=settled.reason,
            field=settled.field,
            unit_id=unit_id,
            token=settled.target.token if settled.target is not None else debt.token,
            key=settled.row.key if settled.row is not None else debt.key,
            settled_at=now if ended else None,
            settled_run=run_id if ended else None,
            choice=None if settled.state is WriteBack.CONFLICT else write_backs.c.choice,
        )
    )


def _settle_unit(
    connection: sa.Connection, settled: Settled, *, run_id: int, now: int
) -> int | None:
    """The unit as the row left it; of a conflict it is held, with the row that was found."""
    row = settled.row
    unit = connection.execute(
        sa.select(units.c.id, units.c.revision).where(
            units.c.stream == settled.stream, units.c.key == (None if row is None else row.key)
        )
    ).first()
    if unit is None:
        return settled.debt.unit_id
    held = settled.state is WriteBack.CONFLICT
    settlement = Settlement(
        unit_id=unit.id,
        revision=unit.revision,
        state=State.QUARANTINED if held else State.UNCHANGED,
        reason=BOTH_SIDES if held else None,
        mapping_version=settled.mapping_version,
        targets=() if held or settled.target is None else (settled.target,),
    )
    settle_units(connection, [settlement], run_id=run_id, now=now)
    return int(unit.id)


def decide(
    connection: sa.Connection,
    debt: Debt,
    choice: Choice,
    *,
    by: str,
    note: str | None,
    now: int,
) -> bool:
    """What a person decided of a debt that still stands as they saw it.

    Where the legacy version counts, Medplum owes it: the unit is pending, over the version that was
    decided about. Nothing is delivered while Medplum owns the type; it is after a step back, and
    whoever makes the same edit in Medplum before settles it.
    """
    if debt.state not in (WriteBack.CONFLICT, WriteBack.REFUSED):
        return False
    again = choice in (Choice.MEDPLUM, Choice.RETRY)
    reason = LEGACY_KEPT if choice is Choice.LEGACY else "accepted"
    changed = connection.execute(
        sa.update(write_backs)
        .where(write_backs.c.id == debt.id, write_backs.c.state == debt.state.value)
        .values(
            state=(WriteBack.OPEN if again else WriteBack.SKIPPED).value,
            reason=None if again else reason,
            field=None,
            choice=choice.value,
            decided_at=now,
            decided_by=by,
            note=note,
            settled_at=None if again else now,
        )
    ).rowcount
    if changed and choice is Choice.LEGACY and debt.unit_id is not None:
        connection.execute(
            sa.update(units)
            .where(units.c.id == debt.unit_id, units.c.reason == BOTH_SIDES)
            .values(state=State.PENDING.value, reason=None, field=None)
        )
        connection.execute(
            sa.update(targets)
            .where(targets.c.token == debt.token)
            .values(version_id=debt.version_id, fingerprint=None)
        )
    return bool(changed)
