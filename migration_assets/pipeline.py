"""The spine: land, prepare, deliver, settle. Each is named once, in this order.

Belongs here: what follows what, and what is committed before what. Does not belong here: how any
step does its work, or Dagster. Every step may be cut off at any point: the next run finds the
unit still pending and repeats the work; what Medplum has accepted is found again by identifier
and not written twice.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from migration_assets.adoption import Adoption, Strategy
from migration_assets.errors import Transient
from migration_assets.legacy import PulledPage
from migration_assets.manifest import Landed, Manifest, Settlement, State, Target, Unit
from migration_assets.mapping import Mapping
from migration_assets.medplum import Deliverer, Fhir, Submission, Verdict
from migration_assets.preparation import Prepared, member_token, prepare
from migration_assets.resolution import resolve, without_collisions
from migration_assets.settling import settlement

CHUNK = 500
"""Units prepared, looked up and settled together."""

SETTLE_LAG = timedelta(seconds=1)
"""The mark stays this far behind the source's clock: its Date header has whole seconds."""


class Puller(Protocol):
    """Where rows come from; ``legacy.Puller`` is one."""

    def pages(
        self, stream: str, since: datetime | None, until: datetime | None
    ) -> Iterator[PulledPage]:
        """Pages of rows that changed in [since, until)."""


class Progress(Protocol):
    """Told how a run gets on; counts only."""

    def landed(self, resource_type: str, rows: int) -> None:
        """``rows`` more rows of a type are on account."""

    def settled(self, resource_type: str, units: int) -> None:
        """``units`` more units of a type were settled."""


class Silent:
    """A progress nobody watches."""

    def landed(self, resource_type: str, rows: int) -> None:
        """Say nothing."""

    def settled(self, resource_type: str, units: int) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Window:
    """Rows to pull: changed in [since, until); None is an open end.

    ``partition`` is recorded as pulled, if given. ``reopen`` has unchanged rows looked at again.
    An open ``until`` reaches now and so moves the mark.
    """

    since: datetime | None
    until: datetime | None
    partition: str | None = None
    reopen: bool = True


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything one run holds on to. ``fhir`` is None where nothing may be delivered."""

    id: int
    label: str
    manifest: Manifest
    puller: Puller
    adoption: Adoption
    fhir: Fhir | None
    deadline_seconds: float
    progress: Progress = field(default_factory=Silent)
    new_deliverer: Callable[..., Deliverer] = Deliverer


@dataclass
class Worked:
    """Units settled in one pass over what was pending, by state; and those left open."""

    by_state: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    events: dict[str, int] = field(default_factory=dict)
    bundles: int = 0
    open: int = 0


def land(run: Run, mapping: Mapping[Any], window: Window) -> Landed:
    """Pull a window and put its rows on account; the mark moves with the last page.

    Raises:
        Transient, Permanent: the source cannot be pulled; pages landed so far stay.
    """
    total = Landed()
    newest: datetime | None = None
    held: PulledPage | None = None
    for page in run.puller.pages(mapping.stream, window.since, window.until):
        if held is not None:
            total += run.manifest.land(
                mapping.stream, held.rows, run_id=run.id, reopen=window.reopen
            )
            run.progress.landed(mapping.resource_type, len(held.rows))
        times = [row.changed_at for row in page.rows if row.changed_at is not None]
        newest = max([*times, *([newest] if newest else [])], default=None)
        held = page
    rows = held.rows if held else ()
    total += run.manifest.land_last(
        mapping.stream,
        rows,
        run_id=run.id,
        reopen=window.reopen,
        mark=_mark(window, newest, held),
        window=(window.partition, total.rows + len(rows)) if window.partition else None,
    )
    run.progress.landed(mapping.resource_type, len(rows))
    run.progress.settled(mapping.resource_type, total.quarantined)
    return total


def _mark(window: Window, newest: datetime | None, last: PulledPage | None) -> datetime | None:
    """The new high-water mark, if this window reached now (legacy-apis §4.3).

    A row dated in the future must not carry the mark along: the source's own clock caps it.
    """
    if window.until is not None or last is None:
        return None
    upper: datetime = last.server_time - SETTLE_LAG
    if newest is not None:
        return min(newest, upper)
    # Nothing changed since the window's beginning; a stream that was always empty is taken as
    # read up to a day ago, which leaves that day to rows committed late.
    return window.since or upper - timedelta(days=1)


def migrate(run: Run, mapping: Mapping[Any]) -> Worked:
    """Prepare, deliver and settle everything pending of a type.

    Where the phase forbids delivery, only quarantine and skips are settled: what could be sent
    stays pending.

    Raises:
        Transient: some units stay pending because Medplum would not take them before the deadline,
            or another run is writing this type.
        Permanent: Medplum refuses every request.
    """
    worked = Worked()
    standing = run.adoption.standing(mapping.resource_type)
    if run.fhir is None or not standing.may_deliver:
        _pass_over(run, mapping, worked, deliverer=None)
        return worked
    with run.manifest.lease(mapping.resource_type, run.label) as lease:
        # Renewed before every bundle: waits for quota may outlast a lease that nobody renews.
        deliverer = run.new_deliverer(
            run.fhir,
            exclusive=standing.strategy is Strategy.EXCLUSIVE,
            deadline_seconds=run.deadline_seconds,
            before_sending=lambda: run.manifest.renew(lease),
        )
        run.manifest.release_awaiting(mapping.stream)
        while True:
            _pass_over(run, mapping, worked, deliverer=deliverer)
            # An organization that waited for its parent, which came in this very pass.
            if worked.open or not run.manifest.release_awaiting(mapping.stream):
                break
    worked.bundles = deliverer.bundles_sent
    if worked.open:
        raise Transient(
            f"{worked.open} {mapping.resource_type} units stay pending: Medplum did not take them "
            f"within {run.deadline_seconds:.0f} s (throttling, conflicts or an outage). Nothing "
            "is lost; run again, or raise MIGRATION_DEADLINE_SECONDS."
        )
    return worked


def _pass_over(
    run: Run,
    mapping: Mapping[Any],
    worked: Worked,
    *,
    deliverer: Deliverer | None,
) -> None:
    """Go once over the pending units, in landing order."""
    last_id = 0
    while units := run.manifest.pending_units(mapping.stream, after_id=last_id, limit=CHUNK):
        last_id = units[-1].id
        with _no_collection():
            _pass_over_chunk(run, mapping, worked, units, deliverer=deliverer)


def _pass_over_chunk(
    run: Run,
    mapping: Mapping[Any],
    worked: Worked,
    units: list[Unit],
    *,
    deliverer: Deliverer | None,
) -> None:
    """Prepare some units, hold back what must wait, deliver the rest, settle all of them."""
    made = [prepare(mapping, unit) for unit in units]
    due = [each for each in made if isinstance(each, Prepared)]
    settle(run, mapping, worked, [each for each in made if isinstance(each, Settlement)])
    if run.fhir is None or deliverer is None:
        return  # a rehearsal: what could be sent stays pending
    due, collided = without_collisions(run.manifest, due)
    due, awaiting = resolve(run.manifest, run.fhir, due)
    settle(run, mapping, worked, [*collided, *awaiting])
    for settlements in deliver(run, deliverer, due, worked):
        settle(run, mapping, worked, settlements)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Leave the cycle collector out of one chunk: it took a sixth of the CPU and found nothing.

    It runs again between chunks, so what a chunk may leave behind is bounded.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def deliver(
    run: Run, deliverer: Deliverer, due: list[Prepared], worked: Worked
) -> Iterator[list[Settlement]]:
    """Send what is due; yields the settlements of each bundle as it is answered.

    What is about to be created is written down first: after a crash it is looked for.
    """
    by_unit = {each.unit.id: each for each in due}
    run.manifest.intend(
        (each.unit.id, Target(member.resource_type, member_token(member), sent=each.prints(member)))
        for each in due
        for member in each.submission.members
    )
    for delivered in deliverer.deliver(_coming_back(run, [each.submission for each in due])):
        worked.open += sum(each.verdict is Verdict.OPEN for each in delivered)
        for answer in (answer for each in delivered for answer in each.answers):
            worked.events[answer.event] = worked.events.get(answer.event, 0) + 1
        yield [
            settlement(by_unit[each.submission.unit], each)
            for each in delivered
            if each.verdict is not Verdict.OPEN
        ]


def _coming_back(run: Run, submissions: list[Submission]) -> list[Submission]:
    """The same submissions; what was deleted before is to come back under the id it had."""
    former = run.manifest.former_ids(
        member_token(member)
        for each in submissions
        for member in each.members
        if member.fhir_id is None
    )
    if not former:
        return submissions
    return [
        replace(
            each,
            members=tuple(
                replace(member, former_id=former.get(member_token(member)))
                for member in each.members
            ),
        )
        for each in submissions
    ]


def settle(run: Run, mapping: Mapping[Any], worked: Worked, settlements: list[Settlement]) -> None:
    """Give each unit its disposition, with attempts and targets, in one transaction."""
    run.manifest.settle(settlements, run_id=run.id)
    for each in settlements:
        worked.by_state[each.state] += 1
    run.progress.settled(mapping.resource_type, len(settlements))
