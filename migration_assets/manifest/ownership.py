"""Which resources units own in Medplum: intended, confirmed, deleted, and about to come back.

Belongs here: everything that reads or writes targets alone. Does not belong here: the units.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from migration_assets.manifest.inventories import keep_references
from migration_assets.manifest.records import Settlement, Target, chunked
from migration_assets.manifest.schema import targets
from migration_assets.manifest.sealing import seals_of


def intend_targets(connection: sa.Connection, wanted: Iterable[tuple[int, Target]]) -> None:
    """Write down which resources are about to be created, before anything is sent.

    After a crash between Medplum's answer and ours, this is what tells a later run which
    identifiers to look for, even if the row was deleted in between. A target that was deleted is
    the unit's own from here on, and is to come back under the id it had.
    """
    listed = list(wanted)
    rows = [
        {
            "unit_id": unit_id,
            "resource_type": each.resource_type,
            "token": each.token,
            "deleted": False,
        }
        for unit_id, each in listed
    ]
    if rows:
        connection.execute(_insert_or_take_over(connection), rows)
    seals = seals_of(connection)
    sent = [
        {"at_token": each.token, "more": f" {seals.mask_print(print_)}"}
        for _unit_id, each in listed
        for print_ in each.sent
    ]
    if sent:
        connection.execute(
            sa.update(targets)
            .where(targets.c.token == sa.bindparam("at_token"))
            .values(sent=sa.func.coalesce(targets.c.sent, "") + sa.bindparam("more")),
            sent,
        )


def _insert_or_take_over(connection: sa.Connection) -> Any:
    insert = insert_into(connection, targets)
    return insert.on_conflict_do_update(
        index_elements=[targets.c.token],
        set_={
            "unit_id": insert.excluded.unit_id,
            "deleted": False,
            "former_id": sa.func.coalesce(targets.c.fhir_id, targets.c.former_id),
            "fhir_id": None,
            "version_id": None,
            "fingerprint": None,
            "sent": None,
            "overwrites": None,
        },
        where=targets.c.deleted.is_(True),
    )


def insert_into(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that may meet what is there: the same words on both databases, in two modules."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def former_ids(connection: sa.Connection, tokens: Iterable[str]) -> dict[str, str]:
    """Under which ids targets were deleted that are about to be written again, by token."""
    found: dict[str, str] = {}
    for part in chunked(tokens):
        query = sa.select(targets.c.token, targets.c.former_id).where(
            targets.c.token.in_(part), targets.c.former_id.is_not(None)
        )
        found.update((row.token, row.former_id) for row in connection.execute(query))
    return found


def confirm_targets(
    connection: sa.Connection, settlements: Iterable[Settlement], *, now: int
) -> None:
    """Keep what Medplum confirmed: id, version, fingerprint, references, or that it is deleted."""
    owned = [(each.unit_id, target) for each in settlements for target in each.targets]
    if not owned:
        return
    if _confirm(connection, owned, now) < len(owned):  # not all of them were intended before
        intend_targets(connection, owned)
        _confirm(connection, owned, now)
    keep_references(connection, (target for _unit, target in owned))


def _confirm(connection: sa.Connection, owned: list[tuple[int, Target]], now: int) -> int:
    """Update the targets that are there; returns how many."""
    seals = seals_of(connection)
    updated = connection.execute(
        sa.update(targets)
        .where(targets.c.token == sa.bindparam("at_token"))
        .values(
            unit_id=sa.bindparam("new_unit"),
            fhir_id=sa.bindparam("new_id", type_=sa.Text),
            version_id=sa.bindparam("new_version"),
            fingerprint=sa.bindparam("new_fingerprint"),
            former_id=_former_id(),
            deleted=sa.bindparam("new_deleted"),
            sent=None,
            overwrites=None,
            confirmed_at=now,
            as_of=sa.func.coalesce(sa.bindparam("new_as_of", type_=sa.BigInteger), targets.c.as_of),
        ),
        [
            {
                "at_token": target.token,
                "new_unit": unit_id,
                "new_id": target.fhir_id,
                "new_version": target.version_id,
                "new_fingerprint": seals.mask_print(target.fingerprint),
                "new_deleted": target.deleted,
                "new_as_of": target.as_of,
            }
            for unit_id, target in owned
        ],
    )
    return updated.rowcount


def _former_id() -> sa.Case[Any]:
    """Where it is not under the id it had: that one, until whoever refers to it is told."""
    now = sa.bindparam("new_id", type_=sa.Text)
    before = sa.func.coalesce(targets.c.fhir_id, targets.c.former_id)
    return sa.case(
        (now.is_(None), targets.c.former_id),
        (before != now, before),
        (targets.c.former_id != now, targets.c.former_id),
    )


def doubt_targets(connection: sa.Connection, settlements: Iterable[Settlement]) -> None:
    """Forget what is known of resources that somebody wrote without the right to.

    Their write may lie over a newer one, or beside it: the next run has to look them up, by
    identifier, and send what differs. What they sent is kept, so that it is known as ours.
    """
    owned = [target for each in settlements for target in each.targets]
    if owned:
        prints = {each.token: f" {each.fingerprint}" if each.fingerprint else "" for each in owned}
        connection.execute(
            sa.update(targets)
            .where(targets.c.token == sa.bindparam("at_token"))
            .values(
                fhir_id=None,
                version_id=None,
                fingerprint=None,
                deleted=False,
                sent=sa.func.coalesce(targets.c.sent, "") + sa.bindparam("more"),
            ),
            [{"at_token": name, "more": more} for name, more in prints.items()],
        )


def known_ids(connection: sa.Connection, tokens: Iterable[str]) -> dict[str, str]:
    """Medplum ids of the targets that are confirmed and not deleted, by token."""
    found: dict[str, str] = {}
    for part in chunked(tokens):
        query = sa.select(targets.c.token, targets.c.fhir_id).where(
            targets.c.token.in_(part),
            targets.c.fhir_id.is_not(None),
            targets.c.deleted.is_(False),
        )
        found.update((row.token, row.fhir_id) for row in connection.execute(query))
    return found


def owners(connection: sa.Connection, tokens: Iterable[str]) -> dict[str, int]:
    """Which unit owns each token, for those that are known; what was deleted is nobody's."""
    found: dict[str, int] = {}
    for part in chunked(tokens):
        query = sa.select(targets.c.token, targets.c.unit_id).where(
            targets.c.token.in_(part), targets.c.deleted.is_(False)
        )
        found.update((row.token, row.unit_id) for row in connection.execute(query))
    return found
