"""``Manifest``: the one object other rooms hold. Each method is one transaction.

Belongs here: which changes are committed together. Does not belong here: the queries.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest import account, landing, ownership, sweeps
from migration_assets.manifest import leases as leasing
from migration_assets.manifest import marks as marking
from migration_assets.manifest.bot_answers import BotAnswers
from migration_assets.manifest.cohort_changes import CohortChanges
from migration_assets.manifest.cohorts import Cohorts
from migration_assets.manifest.contents import Contents
from migration_assets.manifest.cutovers import Cutovers
from migration_assets.manifest.dead_letters import exceptions
from migration_assets.manifest.decisions import Decisions
from migration_assets.manifest.engine import reading
from migration_assets.manifest.finished import Finished
from migration_assets.manifest.handovers import Handovers
from migration_assets.manifest.history import History
from migration_assets.manifest.inbox import Inbox
from migration_assets.manifest.leases import Lease
from migration_assets.manifest.likenesses import Likenesses
from migration_assets.manifest.open_work import OpenWork, open_work
from migration_assets.manifest.outages import Database
from migration_assets.manifest.pauses import Pauses
from migration_assets.manifest.protection import open_sealed, protection
from migration_assets.manifest.reconciliations import Reconciliations
from migration_assets.manifest.records import (
    Absent,
    Alongside,
    Balance,
    Exceptions,
    Landed,
    LandingRow,
    Settlement,
    SweepEnd,
    Swept,
    Target,
    Unit,
    from_micros,
    to_micros,
)
from migration_assets.manifest.remapping import Remapping
from migration_assets.manifest.schema import runs
from migration_assets.manifest.shared_limits import Ledger, RequestsMade, take_turn
from migration_assets.manifest.switching import Switching
from migration_assets.manifest.tallies import Tallies, fold
from migration_assets.manifest.waiting import Waiting
from migration_assets.manifest.write_backs import WriteBacks

Clock = Callable[[], datetime]


class Manifest:
    """The account of one migration, at one database URL."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
        keys: Sequence[str] = (),
    ) -> None:
        """Open as ``protection.open_sealed`` does; ``sleep`` is for a database that is away."""
        engine = open_sealed(url, keys)
        self._engine = Database(engine, sleep)
        self._read = Database(reading(engine), sleep)
        self._clock = clock
        self._new_uuid = new_uuid
        self.contents = Contents(self._read)
        self.finished = Finished(self._read.begin)
        self.protection = protection(self._engine, self._read, self._now)
        self.holders = leasing.Holders(self._engine.begin, self._read.begin, self._now)
        self.switching = Switching(self._engine, self._read, self._now)
        self.cohorts = Cohorts(self._engine, self._read, self._now)
        self.cohort_changes = CohortChanges(self._read)
        self.cutovers = Cutovers(self._engine, self._read, self._now)
        self.waiting = Waiting(self._read.begin)
        self.remapping = Remapping(self._engine.begin, self._read.begin)
        self.bot_answers = BotAnswers(self._engine, self._read.begin)
        self.history = History(self._engine, self._read.begin, self._now)
        self.decisions = Decisions(self._engine, self._read, self._now)
        self.likenesses = Likenesses(self._engine.begin, self._read.begin)
        self.tallies = Tallies(self._engine.begin, self._read.begin)
        self.pauses = Pauses(self._engine, self._read, self._now)
        self.reconciliations = Reconciliations(self._engine.begin, self._read.begin)
        self.write_backs = WriteBacks(self._engine, self._read, self._now)
        self.inbox = Inbox(self._engine, self._read, self._now)
        self.handovers = Handovers(self._engine, self._read.begin)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def _now(self) -> int:
        return to_micros(self._clock())

    # -- runs ---------------------------------------------------------------------------------

    def start_run(self, label: str, *, pipeline_version: str) -> int:
        """Register a run and return its number; ``label`` is Dagster's run id or the CLI verb."""
        values = {"label": label, "pipeline_version": pipeline_version, "started_at": self._now()}
        with self._engine.begin() as connection:
            key = connection.execute(sa.insert(runs).values(**values)).inserted_primary_key
            fold(connection)
        return int(key[0]) if key else 0

    def finish_run(self, run_id: int) -> None:
        """Note that the run came to its end, well or badly."""
        ended = sa.update(runs).where(runs.c.id == run_id).values(finished_at=self._now())
        self._engine.again(lambda connection: connection.execute(ended).close())

    # -- landing ------------------------------------------------------------------------------

    def land(
        self,
        stream: str,
        rows: Iterable[LandingRow],
        *,
        run_id: int,
        reopen: bool,
        alongside: Alongside | None = None,
    ) -> Landed:
        """Land one page, and what goes with it, all in one transaction.

        ``reopen`` has unchanged rows looked at again.
        """
        now = self._now()
        beside = alongside or Alongside()
        listed = list(rows)

        def page(connection: sa.Connection) -> Landed:
            landed = landing.land(
                connection,
                stream,
                listed,
                run_id=run_id,
                now=now,
                reopen=reopen,
                alongside=beside,
            )
            marking.commit_alongside(connection, stream, beside, run_id=run_id, now=now)
            return landed

        return self._engine.again(page)

    def unseen(self, stream: str, rows: Iterable[LandingRow]) -> int:
        """How many of ``rows`` would change the account if they landed."""
        with self._read.begin() as connection:
            return landing.unseen(connection, stream, rows)

    def high_water_mark(self, stream: str) -> datetime | None:
        """How far incremental pulling of ``stream`` got, or None before the first window."""
        with self._read.begin() as connection:
            found = marking.mark_of(connection, stream)
        return from_micros(found) if found is not None else None

    def knows_parent(self, stream: str, parent: str) -> bool:
        """Whether the rows of a parent were once read from the beginning."""
        with self._read.begin() as connection:
            return bool(marking.known_parents(connection, stream, [parent]))

    def pulled_windows(self, stream: str) -> dict[str, datetime]:
        """When each partition of ``stream`` was last pulled to its end."""
        with self._read.begin() as connection:
            return marking.pulled_windows(connection, stream)

    # -- sweeps -------------------------------------------------------------------------------

    def start_sweep(
        self,
        stream: str,
        *,
        run_id: int,
        asked: tuple[datetime | None, datetime | None] = (None, None),
    ) -> int:
        """Open a sweep of ``stream`` that asks for these change times, and return its number."""
        since, until = (None if each is None else to_micros(each) for each in asked)
        with self._engine.begin() as connection:
            now = self._now()
            return sweeps.start_sweep(
                connection, stream, run_id=run_id, now=now, since=since, until=until
            )

    def held_at_start(self, sweep: int) -> int:
        """Live units when the sweep began."""
        with self._read.begin() as connection:
            return sweeps.held_at_start(connection, sweep)

    def count_absent(self, sweep: int) -> int:
        """How many live units the sweep did not see."""
        with self._read.begin() as connection:
            return sweeps.count_absent(connection, sweep)

    def absent_units(self, sweep: int, *, after_id: int = 0, limit: int = 500) -> list[Absent]:
        """The next live units the sweep did not see."""
        with self._read.begin() as connection:
            return sweeps.absent_units(connection, sweep, after_id=after_id, limit=limit)

    def seen_key(self, sweep: int) -> str | None:
        """The key of some live unit that the sweep saw."""
        with self._read.begin() as connection:
            return sweeps.seen_key(connection, sweep)

    def note_presence(self, sweep: int, unit: Absent, *, merged_into: str | None) -> None:
        """The source has a row that its list did not show."""
        with self._engine.begin() as connection:
            sweeps.note_presence(connection, sweep, unit, merged_into=merged_into)

    def end_sweep(self, sweep: int, end: SweepEnd, *, lease: Lease | None = None) -> int:
        """Write down how a sweep ended; returns how many units are gone, pending removal now."""
        with self._engine.begin() as connection:
            return sweeps.end_sweep(connection, sweep, end, now=self._now(), lease=lease)

    def last_sweep(self, stream: str) -> Swept | None:
        """The last sweep of ``stream`` that came to its end."""
        with self._read.begin() as connection:
            return sweeps.last_sweep(connection, stream)

    # -- settling -----------------------------------------------------------------------------

    def pending_units(self, stream: str, *, after_id: int = 0, limit: int = 500) -> list[Unit]:
        """The next pending units in landing order."""
        with self._read.begin() as connection:
            return account.pending_units(connection, stream, after_id=after_id, limit=limit)

    def landed_units(
        self, stream: str, *, limit: int, keys: Sequence[str] = (), after_id: int = 0
    ) -> list[Unit]:
        """Units as they were landed, whatever their state."""
        with self._read.begin() as connection:
            return account.landed_units(
                connection, stream, limit=limit, keys=keys, after_id=after_id
            )

    def landed_row(self, stream: str, key: str, changed_at: datetime) -> Any | None:
        """The row on account for exactly this change time, if nothing is wrong with it."""
        with self._read.begin() as connection:
            return account.landed_row(connection, stream, key, to_micros(changed_at))

    def awaited(self, stream: str, *, limit: int) -> list[str]:
        """Tokens that units of ``stream`` wait for."""
        with self._read.begin() as connection:
            return account.awaited(connection, stream, limit=limit)

    def release_awaiting(self, stream: str, found: Iterable[str] | None = None) -> int:
        """Make units pending again whose awaited target has arrived; returns how many."""
        with self._engine.begin() as connection:
            return account.release_awaiting(connection, stream, found)

    def intend(self, wanted: Iterable[tuple[int, Target]]) -> None:
        """Write down the resources about to be created, before anything is sent."""
        listed = list(wanted)
        if listed:
            self._engine.again(lambda connection: ownership.intend_targets(connection, listed))

    def settle(
        self, settlements: Iterable[Settlement], *, run_id: int, lease: Lease | None = None
    ) -> int:
        """Settle units, with their attempts and targets; returns how many were still as seen.

        Raises:
            Transient: another run took the lease over (``account.settle_once``).
        """
        listed, now = list(settlements), self._now()
        if not listed:
            return 0
        return account.settle_once(self._engine, listed, run_id=run_id, now=now, lease=lease)

    def known_ids(self, tokens: Iterable[str]) -> dict[str, str]:
        """Medplum ids of confirmed targets, by token."""
        with self._read.begin() as connection:
            return ownership.known_ids(connection, tokens)

    def former_ids(self, tokens: Iterable[str]) -> dict[str, str]:
        """Ids under which targets that come back were deleted, by token."""
        with self._read.begin() as connection:
            return ownership.former_ids(connection, tokens)

    def owners(self, tokens: Iterable[str]) -> dict[str, int]:
        """Which unit owns each token."""
        with self._read.begin() as connection:
            return ownership.owners(connection, tokens)

    # -- the balance --------------------------------------------------------------------------

    def balances(self) -> dict[str, Balance]:
        """The balance of every stream that has units."""
        return self.tallies.by_stream()

    def exceptions(self, stream: str | None = None) -> list[Exceptions]:
        """Quarantined, rejected and skipped units, grouped by reason."""
        with self._read.begin() as connection:
            return exceptions(connection, stream)

    # -- leases -------------------------------------------------------------------------------

    def lease(self, name: str, holder: str) -> AbstractContextManager[Lease]:
        """Hold the one lease called ``name``; Transient while somebody else holds it freshly."""
        return leasing.hold(self._engine, Lease(name, holder, self._new_uuid().hex), self._now)

    def renew(self, lease: Lease) -> None:
        """Say that the holder is alive; Transient if another took the lease over meanwhile."""
        leasing.renew(self._engine, lease, now=self._now())

    def open_work(self) -> dict[str, OpenWork]:
        """Pending units by stream, for an estimate of what they will take."""
        with self._read.begin() as connection:
            return open_work(connection)

    # -- limits that processes share ------------------------------------------------------------

    @contextmanager
    def requests_made(self, budget: str, *, depth: int) -> Iterator[RequestsMade]:
        """The requests of a budget, for one caller at a time; at least ``depth`` are kept."""
        with self._engine.begin() as connection:
            take_turn(connection, f"requests:{budget}")
            yield RequestsMade(connection, budget, depth=depth)

    @contextmanager
    def ledger(self, name: str) -> Iterator[Ledger]:
        """The ledger of that name, for one caller at a time."""
        with self._engine.begin() as connection:
            take_turn(connection, f"ledger:{name}")
            yield Ledger(connection, name, now=self._now())
