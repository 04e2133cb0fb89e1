"""The evidence for an exit gate, read from the account, Medplum or the legacy API.

Belongs here: what each phase's gate needs to know, and where that is found. Does not belong here:
the verdict (``adoption.gates``). Medplum is asked on the way out of dual_write, and on that out of
backfill where anything was written since the last comparison; the legacy API only on the way out of
write. Nothing is written but comparisons, and notes of who is in which cohort.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from migration_assets.adoption import Adoption, Cohort, Phase
from migration_assets.adoption.gates import Bounds, Compared, Evidence, Lag
from migration_assets.fhir.sent import sent_stream
from migration_assets.legacy import Source
from migration_assets.manifest import Manifest, State
from migration_assets.mapping import Mapping
from migration_assets.medplum import Fhir
from migration_assets.run import Puller
from migration_assets.steps.polling import current_until, lateness
from migration_assets.switching.audit import audit
from migration_assets.switching.compared import compared, looked_again
from migration_assets.switching.parts import Part


@dataclass(frozen=True, kw_only=True)
class Witnesses:
    """Where evidence comes from; what cannot be asked is None, and proves nothing.

    ``fhir`` and ``puller`` are opened only when they are needed.
    """

    manifest: Manifest
    adoption: Adoption
    clock: Callable[[], datetime]
    bounds: Bounds
    fhir: Callable[[], Fhir | None] = lambda: None
    puller: Callable[[], Puller] | None = None
    source: Source | None = None
    looks_again: bool = True
    """Whether Medplum is searched for what was written since the last comparison."""


def evidence(witnesses: Witnesses, mapping: Mapping[Any], cohort: Cohort | None = None) -> Evidence:
    """What is known of a mapping's types, for leaving the phase that they are in.

    Of a ``cohort`` what is known of that; of a type with cohorts, what is known of the rows that
    are in none.

    Raises:
        Transient, Permanent: Medplum or the legacy API had to be asked and could not.
    """
    manifest, now = witnesses.manifest, witnesses.clock()
    standing = witnesses.adoption.standing(mapping.resource_type)
    phase = standing.of(cohort).phase
    part = Part(manifest, mapping, standing, cohort)
    since = manifest.switching.since(mapping.resource_type, phase.value, part.recorded)
    begin = now - timedelta(days=witnesses.bounds.days)
    writes = [manifest.switching.last_write(each) for each in mapping.types]
    last_write = max((each for each in writes if each is not None), default=None)
    balance = part.balance()
    return Evidence(
        now=now,
        since=since,
        eligible=balance.eligible,
        pending=balance.by_state[State.PENDING],
        balance_holds=balance.holds,
        unexplained=part.unexplained(),
        untold=part.untold(),
        unread=_unread(witnesses, mapping.stream, now) if phase is Phase.BACKFILL else None,
        mark=manifest.high_water_mark(mapping.stream),
        last_write=last_write,
        comparisons=_comparisons(witnesses, mapping, cohort, phase, begin, last_write),
        discrepancy=audit(
            manifest,
            witnesses.fhir(),
            witnesses.adoption,
            mapping,
            since=max(since or begin, begin) if witnesses.bounds.days else (since or begin),
            among=part.among,
        )
        if phase is Phase.DUAL_WRITE
        else None,
        lag=_lag(witnesses, mapping.stream, now, begin) if phase is Phase.READ else None,
        legacy_edits=legacy_edits(witnesses, mapping, begin, part)
        if phase is Phase.WRITE
        else None,
    )


def _comparisons(
    witnesses: Witnesses,
    mapping: Mapping[Any],
    cohort: Cohort | None,
    phase: Phase,
    begin: datetime,
    last_write: datetime | None,
) -> tuple[Compared, ...]:
    """Each type's comparisons; on the way out of backfill what was written since is looked at."""
    if phase not in {Phase.BACKFILL, Phase.READ}:
        return ()
    manifest, terms = witnesses.manifest, None if cohort is None else cohort.terms
    made: list[Compared] = []
    for kind in mapping.types:
        each = compared(manifest, kind, begin, terms=terms)
        started = each.started_at
        written = started is not None and last_write is not None and last_write >= started
        again = phase is Phase.BACKFILL and (written or bool(each.unsettled))
        fhir = witnesses.fhir() if again and witnesses.looks_again else None
        later = (
            None
            if fhir is None
            else looked_again(manifest, fhir, mapping, each, clock=witnesses.clock, terms=terms)
        )
        made.append(replace(each, later=later))
    return tuple(made)


def legacy_edits(
    witnesses: Witnesses, mapping: Mapping[Any], begin: datetime, part: Part
) -> int | None:
    """Rows that were edited in the legacy system at or after ``begin``; nothing is landed.

    Of a cohort those are counted that are in it, and those of which nothing is on account.

    A stream that cannot filter by time is read whole: what is not as it landed counts as edited.
    What a write-back left there is no edit. What services still send as FHIR is one.
    """
    if witnesses.puller is None or witnesses.source is None:
        return None
    described = witnesses.source.stream(mapping.stream)
    by_time = described.cursor is not None and described.queue is None
    puller = witnesses.puller()
    keys: set[str] = set()
    unseen = 0
    for page in puller.pages(mapping.stream, begin if by_time else None, None):
        if by_time:
            late = [row for row in page.rows if row.changed_at is None or row.changed_at >= begin]
            ours = witnesses.manifest.write_backs.made_here(mapping.stream, late)
            keys |= {str(row.key) for row in late} - ours
        else:
            here = part.of_keys(str(each.key) for each in page.rows)
            rows = [each for each in page.rows if str(each.key) in here]
            unseen += witnesses.manifest.unseen(mapping.stream, rows)
    sent = witnesses.manifest.inbox.waiting(sent_stream(kind) for kind in mapping.types)
    return len(part.of_keys(keys)) + unseen + sent


def _unread(witnesses: Witnesses, stream: str, now: datetime) -> int | None:
    """How many windows of a stream were never read to their end; a sweep that was believed did.

    A queue shows what changed, never all there is: nothing can be said of it.
    """
    bounds, source, manifest = witnesses.bounds, witnesses.source, witnesses.manifest
    if bounds.windows is None or (source is not None and source.stream(stream).queue is not None):
        return None
    swept = manifest.last_sweep(stream)
    if swept is not None and swept.verdict == "believed":
        return 0
    return len(set(bounds.windows(now)) - manifest.pulled_windows(stream).keys())


def _lag(witnesses: Witnesses, stream: str, now: datetime, begin: datetime) -> Lag | None:
    manifest, source = witnesses.manifest, witnesses.source
    until, late = current_until(manifest, stream), lateness(manifest, stream, begin)
    if until is None or late is None:
        return None
    seconds = max(0, int((now - until).total_seconds()))
    return Lag(
        seconds=seconds,
        worst_seconds=int(late.worst.total_seconds()),
        watched_since=late.since,
        allowed_seconds=source.stream(stream).fresh_seconds if source is not None else None,
    )
