"""The inbox: events that services sent are written down, and landed, in one transaction.

Belongs here: which event was taken when and how it landed, and which of them still wait. Does not
belong here: the rules of landing (``landing``), or what an event must look like (the room
``inbox``).

An event is known by the service that sent it and its key. Sent again, nothing happens and the
answer is the first one's: whatever has landed since stays as it is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from migration_assets.errors import Permanent
from migration_assets.manifest import landing
from migration_assets.manifest.in_bulk import among
from migration_assets.manifest.inbox_tables import inbox_events, inbox_rows
from migration_assets.manifest.outages import Database
from migration_assets.manifest.ownership import insert_into
from migration_assets.manifest.payload import row_hash
from migration_assets.manifest.records import (
    Alongside,
    Landed,
    LandingRow,
    State,
    chunked,
    from_micros,
    to_micros,
)
from migration_assets.manifest.schema import runs, units
from migration_assets.manifest.sealing import seals_of

NOT_THIS = 0
"""Revision of a unit that an event told of, but not as it stands."""
RUN = "inbox"
"""Label of the run under whose number a server lands events."""


class OtherContent(Permanent):
    """The key was used before, for an event that said something else."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a service sent: ``key`` is its own for it, ``content`` all that it said, as bytes."""

    service: str
    key: str
    stream: str
    content: bytes
    slack: timedelta = timedelta(0)


@dataclass(frozen=True)
class Accepted:
    """How an event landed; ``replayed``: it had been taken before, and nothing was done."""

    landed: Landed
    replayed: bool


@dataclass(frozen=True)
class Told:
    """What services sent of a unit last: whether it ``stands`` so, and the source was ``read``."""

    stands: bool
    read: bool


@dataclass(frozen=True)
class Taken:
    """Events of one service and stream: how many, how they landed, and when the last came."""

    service: str
    stream: str
    events: int
    landed: Landed
    last: datetime


class Inbox:
    """The events of one account; each method is one transaction."""

    def __init__(self, engine: Database, read: Database, now: Callable[[], int]) -> None:
        """``read`` begins transactions that change nothing."""
        self._engine = engine
        self._read = read
        self._now = now

    def accept(self, event: Event, rows: Iterable[LandingRow], *, run_id: int) -> Accepted:
        """Land an event's rows, in the order it has them, and write down that it came.

        Raises:
            OtherContent: the service used the key before, for something else; nothing is changed.
            Transient, Permanent: the database cannot be written; nothing is changed.
        """
        listed, now = list(rows), self._now()

        def whole(connection: sa.Connection) -> Accepted:
            return _accept(connection, event, listed, run_id=run_id, now=now)

        return self._engine.again(whole)

    def waiting(self, streams: Iterable[str]) -> int:
        """How many events have a row that is still to be delivered, of these streams."""
        query = (
            sa.select(sa.func.count(inbox_rows.c.event_id.distinct()))
            .join(units, units.c.id == inbox_rows.c.unit_id)
            .where(units.c.stream.in_(list(streams)), units.c.state == State.PENDING.value)
        )
        with self._read.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def waiting_streams(self) -> set[str]:
        """The streams in which events have a row that is still to be delivered."""
        query = (
            sa.select(units.c.stream)
            .distinct()
            .where(units.c.state == State.PENDING.value)
            .where(sa.exists().where(inbox_rows.c.unit_id == units.c.id))
        )
        with self._read.begin() as connection:
            return set(connection.execute(query).scalars())

    def told(self, unit_ids: Sequence[int]) -> dict[int, Told]:
        """What the last event of each of these units was worth; those without one are left out."""
        last = (
            sa.select(inbox_rows.c.unit_id, sa.func.max(inbox_rows.c.event_id).label("event_id"))
            .where(inbox_rows.c.unit_id.in_(unit_ids))
            .group_by(inbox_rows.c.unit_id)
            .subquery()
        )
        query = (
            sa.select(
                units.c.id,
                (inbox_rows.c.revision == units.c.revision).label("stands"),
                units.c.seen_run.in_(of_events()).label("unread"),
            )
            .join(inbox_rows, inbox_rows.c.unit_id == units.c.id)
            .join(
                last,
                sa.and_(
                    last.c.unit_id == inbox_rows.c.unit_id,
                    last.c.event_id == inbox_rows.c.event_id,
                ),
            )
        )
        with self._read.begin() as connection:
            return {
                row.id: Told(stands=bool(row.stands), read=not row.unread)
                for row in connection.execute(query)
            }

    def states(self, stream: str, keys: Iterable[str]) -> dict[str, State]:
        """How the units of these keys stand, as far as there are any."""
        found: dict[str, State] = {}
        with self._read.begin() as connection:
            for part in chunked(keys):
                query = sa.select(units.c.key, units.c.state).where(
                    units.c.stream == stream, among(connection, units.c.key, part)
                )
                found.update((row.key, State(row.state)) for row in connection.execute(query))
        return found

    def taken(self, *, since: datetime | None = None) -> list[Taken]:
        """What came, by service and stream."""
        counts = [sa.func.sum(inbox_events.c[name]).label(name) for name in _COUNTS]
        query = sa.select(
            inbox_events.c.service,
            inbox_events.c.stream,
            sa.func.count().label("events"),
            sa.func.max(inbox_events.c.received_at).label("last"),
            *counts,
        ).group_by(inbox_events.c.service, inbox_events.c.stream)
        if since is not None:
            query = query.where(inbox_events.c.received_at >= to_micros(since))
        order = (inbox_events.c.stream, inbox_events.c.service)
        with self._read.begin() as connection:
            return [
                Taken(row.service, row.stream, row.events, _landed(row), from_micros(row.last))
                for row in connection.execute(query.order_by(*order))
            ]


_COUNTS = ("new", "changed", "same", "stale", "quarantined")


def _accept(
    connection: sa.Connection,
    event: Event,
    rows: Sequence[LandingRow],
    *,
    run_id: int,
    now: int,
) -> Accepted:
    seals = seals_of(connection)
    print_ = row_hash(event.content)
    insert = insert_into(connection, inbox_events).values(
        service=event.service,
        event=event.key,
        print=seals.mask(print_),
        stream=event.stream,
        received_at=now,
        **dict.fromkeys(_COUNTS, 0),
    )
    # Sent twice at once, the second waits here for the first, and then finds it.
    made = connection.execute(insert.on_conflict_do_nothing().returning(inbox_events.c.id)).scalar()
    if made is None:
        return _known(connection, event, print_)
    landed = Landed()
    for part in _versions(rows):
        landed += landing.land(
            connection,
            event.stream,
            part,
            run_id=run_id,
            now=now,
            reopen=False,
            alongside=Alongside(slack=event.slack, events=True),
        )
    counts = {name: getattr(landed, name) for name in _COUNTS}
    connection.execute(sa.update(inbox_events).where(inbox_events.c.id == made).values(**counts))
    _note_units(connection, int(made), event.stream, rows)
    return Accepted(landed, replayed=False)


def _versions(rows: Sequence[LandingRow]) -> list[list[LandingRow]]:
    """The rows in parts, none of which has a key twice: one after the other, as they came.

    In one page two rows of a key collide, for nothing says which is the newer.
    """
    parts: list[list[LandingRow]] = []
    seen: dict[str, int] = {}
    for each in rows:
        place = 0
        if each.key is not None:
            place = seen.get(each.key, 0)
            seen[each.key] = place + 1
        if place == len(parts):
            parts.append([])
        parts[place].append(each)
    return parts


def _note_units(
    connection: sa.Connection, event_id: int, stream: str, rows: Sequence[LandingRow]
) -> None:
    last: dict[str, LandingRow] = {}
    for part in _versions(rows):
        last.update(zip(landing.keys_of(part), part, strict=False))
    stands = landing.standing(connection, stream, last.values())
    found: list[dict[str, Any]] = []
    for keys in chunked(last):
        query = sa.select(units.c.id, units.c.key, units.c.revision).where(
            units.c.stream == stream, among(connection, units.c.key, keys)
        )
        found += [
            {
                "event_id": event_id,
                "unit_id": row.id,
                "revision": row.revision if row.key in stands else NOT_THIS,
            }
            for row in connection.execute(query)
        ]
    if found:
        connection.execute(sa.insert(inbox_rows), found)


def _known(connection: sa.Connection, event: Event, print_: bytes) -> Accepted:
    """The answer that the event was given when it came first."""
    row = connection.execute(
        sa.select(inbox_events).where(
            inbox_events.c.service == event.service, inbox_events.c.event == event.key
        )
    ).one()
    if seals_of(connection).unmask(bytes(row.print)) != print_ or row.stream != event.stream:
        raise OtherContent(
            "The event was refused: its Idempotency-Key was used before for another event. Give "
            "every event a key of its own, and send an event again exactly as it was."
        )
    return Accepted(_landed(row), replayed=True)


def _landed(row: Any) -> Landed:
    counts = {name: int(getattr(row, name)) for name in _COUNTS}
    rows = sum(counts[name] for name in ("new", "changed", "same", "stale"))
    return Landed(rows=rows, **counts)


def plain(landed: Landed) -> dict[str, int]:
    """The counts as services are told them."""
    return {name: number for name, number in asdict(landed).items() if name in _COUNTS}


def of_events() -> sa.Select[tuple[int]]:
    """The runs under whose numbers events landed."""
    return sa.select(runs.c.id).where(runs.c.label == RUN)
