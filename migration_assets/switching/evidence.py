"""The evidence for an exit gate, read from the account, Medplum or the legacy API.

Belongs here: what each phase's gate needs to know, and where that is found. Does not belong here:
the verdict (``adoption.gates``). Medplum is asked only on the way out of dual_write, the legacy API
only on the way out of write. Nothing is written.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from migration_assets.adoption import Adoption, Phase
from migration_assets.adoption.gates import Bounds, Compared, Evidence, Lag
from migration_assets.claims.on_account import unsettled
from migration_assets.claims.on_medplum import HELD, QUESTIONS, RESOLVE, latest_whole
from migration_assets.legacy import Source
from migration_assets.manifest import Balance, Manifest, Selection, State
from migration_assets.manifest.reconciliations import Reconciliation
from migration_assets.mapping import Mapping
from migration_assets.medplum import Fhir
from migration_assets.run import Puller
from migration_assets.steps.polling import current_until, lateness
from migration_assets.switching.audit import audit

_LOOKED_AT = 500
_NOTHING = Balance(0, dict.fromkeys(State, 0))
_BY_NAME = {each.name: each for each in QUESTIONS}


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


def evidence(witnesses: Witnesses, mapping: Mapping[Any]) -> Evidence:
    """What is known of a mapping's types, for leaving the phase that they are in.

    Raises:
        Transient, Permanent: Medplum or the legacy API had to be asked and could not.
    """
    manifest, now = witnesses.manifest, witnesses.clock()
    phase = witnesses.adoption.standing(mapping.resource_type).phase
    balance = manifest.balances().get(mapping.stream, _NOTHING)
    chosen = Selection(streams=(mapping.stream,), open_only=True)
    since = manifest.switching.since(mapping.resource_type, phase.value)
    begin = now - timedelta(days=witnesses.bounds.days)
    writes = [manifest.switching.last_write(each) for each in mapping.types]
    compares = phase in {Phase.BACKFILL, Phase.READ}
    return Evidence(
        now=now,
        since=since,
        eligible=balance.eligible,
        pending=balance.by_state[State.PENDING],
        balance_holds=balance.holds,
        unexplained=unsettled(manifest.decisions.groups(chosen)).total(),
        mark=manifest.high_water_mark(mapping.stream),
        last_write=max((each for each in writes if each is not None), default=None),
        comparisons=tuple(compared(manifest, each, begin) for each in mapping.types)
        if compares
        else (),
        discrepancy=audit(
            manifest,
            witnesses.fhir(),
            witnesses.adoption,
            mapping,
            since=max(since or begin, begin) if witnesses.bounds.days else (since or begin),
        )
        if phase is Phase.DUAL_WRITE
        else None,
        lag=_lag(witnesses, mapping.stream, now, begin) if phase is Phase.READ else None,
        legacy_edits=legacy_edits(witnesses, mapping, begin) if phase is Phase.WRITE else None,
    )


def compared(manifest: Manifest, kind: str, begin: datetime) -> Compared:
    """The last whole comparison of a type, and the worst that ended at or after ``begin``."""
    found = manifest.reconciliations.latest(resource_type=kind, limit=_LOOKED_AT)
    last = latest_whole(found, _BY_NAME[HELD])
    references = latest_whole(found, _BY_NAME[RESOLVE])
    if last is None:
        return Compared(resource_type=kind)
    worst = max(_of_late(found, begin), key=_share, default=last)
    return Compared(
        resource_type=kind,
        id=last.id,
        started_at=last.started_at,
        findings=sum(last.counts.values()),
        unresolved=None if references is None else sum(references.counts.values()),
        worst_findings=sum(worst.counts.values()),
        worst_of=max(worst.expected, worst.found),
    )


def legacy_edits(witnesses: Witnesses, mapping: Mapping[Any], begin: datetime) -> int | None:
    """Rows that were edited in the legacy system at or after ``begin``; nothing is landed.

    A stream that cannot filter by time is read whole: what is not as it landed counts as edited.
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
            keys |= {
                str(row.key)
                for row in page.rows
                if row.changed_at is None or row.changed_at >= begin
            }
        else:
            unseen += witnesses.manifest.unseen(mapping.stream, page.rows)
    return len(keys) + unseen


def _of_late(found: Iterable[Reconciliation], begin: datetime) -> list[Reconciliation]:
    return [
        each
        for each in found
        if each.finished_at is not None and not each.scope and each.finished_at >= begin
    ]


def _share(each: Reconciliation) -> float:
    return sum(each.counts.values()) / max(1, each.expected, each.found)


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
