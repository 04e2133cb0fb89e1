"""The spine: land, prepare, deliver, settle. Each is named once, in this order.

Belongs here: what follows what, and what is committed before what. Does not belong here: how any
step does its work, or Dagster. Every step may be cut off at any point: the next run finds the
unit still pending and repeats the work; what Medplum has accepted is found again by identifier
and not written twice.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from migration_assets.adoption import Authority, Strategy
from migration_assets.claims.gates import refuse_outdated
from migration_assets.errors import Transient
from migration_assets.legacy import PulledPage
from migration_assets.manifest import Alongside, Landed, Lease, Settlement, State, Target, Unit
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping
from migration_assets.medplum import Deliverer, Submission, Verdict
from migration_assets.run import SETTLE_LAG, Run, Way, Window
from migration_assets.steps.cohorts import by_cohort, left_out, note_all
from migration_assets.steps.handing_over import prepare_claimed
from migration_assets.steps.landing import land_page
from migration_assets.steps.pausing import (
    note_held,
    note_landed,
    note_passed,
    note_settled,
    refuse_paused,
)
from migration_assets.steps.pending import chosen, pending
from migration_assets.steps.polling import note_current
from migration_assets.steps.preparation import Prepared, member_token, prepare
from migration_assets.steps.probable_duplicates import hold
from migration_assets.steps.relinking import relink
from migration_assets.steps.resolution import release, resolve, without_collisions
from migration_assets.steps.senders import Senders
from migration_assets.steps.settling import settlement
from migration_assets.steps.transforming import ask, bound


@dataclass
class Worked:
    """Units settled in one pass over what was pending, by state; and those left open."""

    by_state: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    events: dict[str, int] = field(default_factory=dict)
    bundles: int = 0
    open: int = 0
    groups_apart: int = 0
    """Groups written member by member: in a project without transaction-bundles not atomic."""


def land(run: Run, mapping: Mapping[Any], window: Window) -> Landed:
    """Pull a window and put its rows on account; the mark moves with the last page.

    A stream without a mark gets one with the first page: what changes from then on, while older
    windows are still being read, is the incremental pull's (legacy-apis §4.6). Where the order of
    rows is proven the mark also moves on the way, so that a long pull need not start again.

    Raises:
        Transient, Permanent: the source cannot be pulled, or the stream is paused, perhaps only
            now; pages landed so far stay.
    """
    refuse_paused(run, mapping)
    note_all(run.manifest, mapping, run.adoption.standing(mapping.resource_type), live=True)
    incremental = window.way is Way.INCREMENTAL
    total = Landed()
    newest: datetime | None = None
    held: PulledPage | None = None
    since = window.since
    if incremental and since is not None:
        since = run.puller.floored(mapping.stream, since)
    pages = run.puller.pages(
        mapping.stream,
        since,
        window.until,
        known_parents=partial(run.manifest.knows_parent, mapping.stream) if incremental else None,
    )
    for page in pages:
        if held is not None:
            total += _on_account(run, mapping, window, held, mark=_checkpoint(window, held))
        times = [row.changed_at for row in page.rows if row.changed_at is not None]
        newest = max([*times, *([newest] if newest else [])], default=None)
        held = page
    if held is None:
        return total
    partition = (window.partition, total.rows + len(held.rows)) if window.partition else None
    reached = (_checkpoint(window, held), _mark(window, newest, held) if incremental else None)
    mark = max((each for each in reached if each is not None), default=None)
    total += _on_account(run, mapping, window, held, mark=mark, partition=partition)
    # Only now may the source forget them; what it shows meanwhile is landed as well.
    for page in run.puller.acknowledge(mapping.stream):
        total += _on_account(run, mapping, window, page)
    if incremental and window.until is None:
        note_current(run.manifest, mapping.stream, held.server_time - SETTLE_LAG)
    run.progress.settled(mapping.resource_type, total.quarantined)
    return total


def _on_account(
    run: Run,
    mapping: Mapping[Any],
    window: Window,
    page: PulledPage,
    *,
    mark: datetime | None = None,
    partition: tuple[str, int] | None = None,
) -> Landed:
    """Land one page of a window, and how far it brought us."""
    incremental = window.way is Way.INCREMENTAL
    alongside = Alongside(
        seed=page.server_time - SETTLE_LAG,
        mark=mark,
        window=partition,
        parents=page.parents if incremental else (),
    )
    landed = land_page(run, mapping, page, reopen=not incremental, alongside=alongside)
    note_landed(run, mapping, landed)
    return landed


def _checkpoint(window: Window, page: PulledPage) -> datetime | None:
    """How far the mark may move before the window is read to its end."""
    if window.way is not Way.INCREMENTAL or page.read_until is None:
        return None
    return min(page.read_until, page.server_time - SETTLE_LAG)


def _mark(window: Window, newest: datetime | None, last: PulledPage) -> datetime | None:
    """How far an incremental window brought the mark (legacy-apis §4.3).

    A row dated in the future must not carry the mark along: the source's own clock caps it.
    """
    upper: datetime = last.server_time - SETTLE_LAG
    if window.until is not None:
        return min(window.until, upper)
    return min(newest, upper) if newest is not None else None


def migrate(run: Run, mapping: Mapping[Any], subset: Subset | None = None) -> Worked:
    """Prepare, deliver and settle everything pending of a type, or what a subset means of it.

    Where the phase forbids delivery, only quarantine and skips are settled: what could be sent
    stays pending.

    Raises:
        Transient: some units stay pending because Medplum would not take them before the deadline,
            or another run is writing this type.
        Permanent: Medplum refuses every request, or the stream is paused.
    """
    refuse_paused(run, mapping)
    mapping = bound(mapping, run.manifest, run.fhir)
    worked = Worked()
    standing = run.adoption.standing(mapping.head)
    if run.fhir is None or not standing.may_deliver:
        only = chosen(run, mapping, subset)
        _hold(run, mapping, worked, only)
        _pass_over(run, mapping, worked, only, senders=None)
        return worked
    fhir = run.fhir
    with run.manifest.lease(mapping.head, run.label) as lease:
        refuse_outdated(run.manifest, mapping.head, run.id)
        # Renewed before every bundle: waits for quota may outlast a lease that nobody renews.
        senders = Senders(
            lambda authority: run.new_deliverer(
                fhir,
                exclusive=standing.strategy is Strategy.EXCLUSIVE,
                deadline_seconds=run.deadline_seconds,
                before_sending=lambda: run.manifest.renew(lease),
                manner=replace(run.manner, authority=authority.value if authority else None),
            )
        )
        relink(run.manifest, mapping)
        release(run.manifest, fhir, mapping.stream)
        run.manifest.cohorts.reopen(mapping.stream, left_out(standing))
        only = chosen(run, mapping, subset)
        _hold(run, mapping, worked, only, lease)
        while True:
            _pass_over(run, mapping, worked, only, senders=senders, lease=lease)
            # An organization that waited for its parent, which came in this very pass.
            if worked.open or not run.manifest.release_awaiting(mapping.stream):
                break
    run.manifest.remapping.moves.note()
    worked.bundles = senders.bundles_sent
    worked.groups_apart = senders.groups_sent_apart
    if worked.open:
        raise Transient(
            f"{worked.open} {mapping.resource_type} units stay pending: Medplum did not take them "
            f"within {run.deadline_seconds:.0f} s (throttling, conflicts or an outage). Nothing "
            "is lost; run again, or raise MIGRATION_DEADLINE_SECONDS."
        )
    return worked


def _hold(
    run: Run,
    mapping: Mapping[Any],
    worked: Worked,
    only: Sequence[int] | None,
    lease: Lease | None = None,
) -> None:
    """Hold who may be one person with another, of those that would be delivered.

    Within the lease: beside another run's delivery its units would be held after they were sent.
    """
    wanted = None if only is None else set(only)
    for alike in hold(run.manifest, mapping):
        held = [each for each in alike if wanted is None or each.unit_id in wanted]
        settle(run, mapping, worked, held, lease)
        note_held(run, mapping, len(held))


def _pass_over(
    run: Run,
    mapping: Mapping[Any],
    worked: Worked,
    only: Sequence[int] | None,
    *,
    senders: Senders | None,
    lease: Lease | None = None,
) -> None:
    """Go once over the pending units, in landing order."""
    for units in pending(run, mapping, only):
        asked = ask(mapping, units, partial(run.manifest.renew, lease) if lease else None)
        worked.open += len(asked.unanswered)
        with _no_collection():
            _pass_over_chunk(run, mapping, worked, asked.units, senders=senders, lease=lease)
        asked.refuse_silence()


def _pass_over_chunk(
    run: Run,
    mapping: Mapping[Any],
    worked: Worked,
    units: list[Unit],
    *,
    senders: Senders | None,
    lease: Lease | None,
) -> None:
    """Prepare some units, hold back what must wait, deliver the rest, settle all of them."""
    made = (
        [prepare(mapping, unit) for unit in units]
        if senders is None  # nobody takes anything over
        else prepare_claimed(run.manifest, mapping, units, writes=True)
    )
    due = [each for each in made if isinstance(each, Prepared)]
    settle(run, mapping, worked, [each for each in made if isinstance(each, Settlement)], lease)
    if run.fhir is None or senders is None:
        return  # a rehearsal: what could be sent stays pending
    due, collided = without_collisions(run.manifest, due)
    standing = run.adoption.standing(mapping.head)
    by_authority: dict[Authority | None, list[Prepared]] = {}
    if not standing.cohorts:
        due, awaiting = resolve(run.manifest, run.fhir, due)
        by_authority[standing.authority] = due
    else:
        by_authority, awaiting = by_cohort(run.manifest, run.fhir, mapping, standing, due)
    settle(run, mapping, worked, [*collided, *awaiting], lease)
    for authority, some in by_authority.items():
        for settlements in deliver(run, senders.under(authority), some, worked):
            settle(run, mapping, worked, settlements, lease)
    note_passed(run, mapping, len(units))


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
                replace(member, former_id=former.get(member_token(member), member.former_id))
                for member in each.members
            ),
        )
        for each in submissions
    ]


def settle(
    run: Run,
    mapping: Mapping[Any],
    worked: Worked,
    settlements: list[Settlement],
    lease: Lease | None = None,
) -> None:
    """Give each unit its disposition, with attempts and targets, in one transaction.

    Raises:
        Transient: another run took the lease over; it decides what becomes of the units now.
    """
    run.manifest.settle(settlements, run_id=run.id, lease=lease)
    note_settled(run, mapping, settlements)
    for each in settlements:
        worked.by_state[each.state] += 1
    run.progress.settled(mapping.resource_type, len(settlements))
