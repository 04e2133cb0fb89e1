"""Write-back: what is changed in Medplum after the flip goes to the legacy system.

Belongs here: which types, in which order, under which lease, and the count of it. Does not belong
here: finding changes (``seeing_changes``), what is done about one (``settling_back``,
``creating_back``), SQL (``manifest.write_backs``).

It is for the time in which a type may still step back: Medplum owns it, and the legacy system is
kept up to date, so that a rollback keeps what was written after the flip. After a step back it only
brings to an end what is open.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from migration_assets.adoption import Adoption, Phase, Standing
from migration_assets.claims.gates import refuse_outdated
from migration_assets.errors import Permanent
from migration_assets.legacy.writing import RowWriter
from migration_assets.manifest import Lease, Manifest
from migration_assets.manifest.write_back_ends import Debt, WriteBack
from migration_assets.mapping import Mapping
from migration_assets.medplum import Fhir
from migration_assets.medplum.looking import Looker
from migration_assets.operations.creating_back import settle_creation
from migration_assets.operations.foreseeing_back import Foreseen, outlook
from migration_assets.operations.seeing_changes import (
    LOOKBACK,
    Watch,
    earliest,
    flip_of,
    written_back_before,
)
from migration_assets.operations.settling_back import Clerk, settle_change, settle_deletion
from migration_assets.operations.symbolic import Symbolic

OLDER = "older-than-the-flip"
"""Reason of a resource without a row that was in Medplum before Medplum owned the type.

Within a few minutes, which two clocks may differ by, it counts as new.
"""


class Writers(Protocol):
    """Where rows are written; ``legacy.Puller`` is one."""

    def writer(self, stream: str) -> RowWriter | None:
        """How rows of a stream are written back, or None where that is not described."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What write-back works with. ``since`` stands for a flip that is not on account."""

    manifest: Manifest
    fhir: Fhir
    adoption: Adoption
    legacy: Writers
    run_id: int
    deadline_seconds: float
    since: datetime | None = None
    deletions: bool = True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass
class WrittenBack:
    """What one run did for one mapping: changes seen for the first time, and how debts ended.

    ``total`` is the whole account of its types: ``seen = written + unchanged + conflict + refused +
    skipped + open``.
    """

    noted: int = 0
    ended: Counter[WriteBack] = field(default_factory=Counter)
    total: Counter[WriteBack] = field(default_factory=Counter)

    @property
    def open(self) -> int:
        """Changes that are not settled in the legacy system: open, or in conflict."""
        return self.total[WriteBack.OPEN] + self.total[WriteBack.CONFLICT]


def hindrance(parts: Parts, mapping: Mapping[Any]) -> str:
    """Why nothing of a mapping is written back, in a sentence; empty if it is."""
    kind, standing = mapping.resource_type, parts.adoption.standing(mapping.resource_type)
    if mapping.reverse is None:
        return f"{kind} has no way back: its mapping declares no `reverse`."
    if parts.legacy.writer(mapping.stream) is None:
        return f"The description of {mapping.stream} does not say how rows are written (`write:`)."
    if all(each.phase is Phase.RETIRED for each in standing.parts):
        return f"{kind} is retired: the legacy system is out of use."
    if not _is_owned(standing) and not written_back_before(parts.manifest, kind):
        return f"{kind} is in phase {standing.phase}: the legacy system owns it."
    return ""


def write_back(parts: Parts, mapping: Mapping[Any]) -> WrittenBack:
    """Find what was changed in Medplum, and bring it to the legacy system.

    Raises:
        Permanent: nothing of the type can be written back, or one of the two refuses us.
        Transient: one of the two is away, or another run works on the type; run it again.
    """
    if why := hindrance(parts, mapping):
        raise Permanent(f"{mapping.resource_type} is not written back. {why}")
    done = WrittenBack()
    with parts.manifest.lease(mapping.resource_type, f"write-back-{parts.run_id}") as lease:
        refuse_outdated(parts.manifest, mapping.resource_type, parts.run_id)
        looker = _looker(parts)
        if _is_owned(parts.adoption.standing(mapping.resource_type)):
            _look(parts, mapping, looker, lease, done)
        clerk = _clerk(parts, mapping, looker, lease)
        for debt in _due(parts, mapping):
            parts.manifest.renew(lease)
            done.ended[_settle(parts, clerk, debt)] += 1
    for kind in mapping.types:
        done.total.update(parts.manifest.write_backs.counts([kind]).get(kind, {}))
    return done


def foresee(parts: Parts, mapping: Mapping[Any]) -> Foreseen:
    """What would become of what was changed in Medplum; nothing is written anywhere.

    Raises:
        Permanent, Transient: as ``write_back``.
    """
    if why := hindrance(parts, mapping):
        raise Permanent(f"{mapping.resource_type} is not written back. {why}")
    looker = _looker(parts)
    clerk = _clerk(parts, mapping, looker, Lease(mapping.resource_type, "nobody", ""))
    flip = flip_of(parts.manifest, mapping, parts.since)
    found: Foreseen = Counter()
    for kind in mapping.types:
        watch = Watch(parts.manifest, parts.fhir, looker, mapping, kind, flip, dry=True)
        for seen in watch.news(deletions=parts.deletions):
            for each in parts.manifest.write_backs.unknown(kind, seen):
                made = earliest(each.versions)
                older = made is not None and made < flip - LOOKBACK
                found[outlook(clerk, kind, each, older=older)] += 1
    return found


def _looker(parts: Parts) -> Looker:
    return Looker(
        parts.fhir,
        ends_at=parts.clock() + parts.deadline_seconds,
        clock=parts.clock,
        sleep=parts.sleep,
    )


def _look(
    parts: Parts, mapping: Mapping[Any], looker: Looker, lease: Lease, done: WrittenBack
) -> None:
    flip = flip_of(parts.manifest, mapping, parts.since)
    for kind in mapping.types:
        watch = Watch(parts.manifest, parts.fhir, looker, mapping, kind, flip)
        for seen in watch.news(deletions=parts.deletions):
            parts.manifest.renew(lease)
            done.noted += parts.manifest.write_backs.note(kind, seen)


def _clerk(parts: Parts, mapping: Mapping[Any], looker: Looker, lease: Lease) -> Clerk:
    writer = parts.legacy.writer(mapping.stream)
    if writer is None:
        raise Permanent(f"The description of {mapping.stream} says no more how rows are written.")
    return Clerk(
        manifest=parts.manifest,
        fhir=parts.fhir,
        looker=looker,
        writer=writer,
        mapping=mapping,
        symbolic=Symbolic(parts.manifest, looker),
        run_id=parts.run_id,
        lease=lease,
        sleep=parts.sleep,
    )


def _due(parts: Parts, mapping: Mapping[Any]) -> Iterator[Debt]:
    """Each open debt once, oldest first; those that come up meanwhile, too."""
    for kind in mapping.types:
        after = 0
        while some := parts.manifest.write_backs.due(kind, after_id=after):
            for debt in some:
                after = debt.id
                now = parts.manifest.write_backs.get(debt.id)
                if now is not None and now.state is WriteBack.OPEN:
                    yield now


def _is_owned(standing: Standing) -> bool:
    return any(each.phase is Phase.WRITE for each in standing.parts)


def _not_ours(parts: Parts, mapping: Mapping[Any], debt: Debt) -> str | None:
    """Why a debt of a type with cohorts is not brought back: its row's cohort, as last noted."""
    standing = parts.adoption.standing(mapping.resource_type)
    if not standing.cohorts or debt.sent:
        return None
    facts = parts.manifest.cohorts.facts([debt.unit_id or 0], standing.declaration)
    fact = facts.get(debt.unit_id or 0)
    if fact is None or fact.noted is None:
        return "cohort-unknown"
    return None if fact.noted in standing.owned_cohorts else "owned-by-legacy"


def _settle(parts: Parts, clerk: Clerk, debt: Debt) -> WriteBack:
    if (reason := _not_ours(parts, clerk.mapping, debt)) is not None:
        unknown = reason == "cohort-unknown"
        return clerk.end(debt, WriteBack.REFUSED if unknown else WriteBack.SKIPPED, reason)
    if debt.kind == "delete":
        return settle_deletion(clerk, debt)
    if debt.kind == "change":
        return settle_change(clerk, debt)
    made = earliest(debt.versions)
    flip = flip_of(parts.manifest, clerk.mapping, parts.since)
    if made is not None and made < flip - LOOKBACK and not debt.sent:
        return clerk.end(debt, WriteBack.SKIPPED, OLDER)
    return settle_creation(clerk, debt)
