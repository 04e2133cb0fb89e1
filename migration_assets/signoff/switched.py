"""How authority went over: phases and cohorts, what services sent, what went back, cutovers.

Belongs here: reading that from the account, and the values it is told in. Does not belong here:
verdicts (``report``), or the page. What people wrote down as a reason is told with patient data
only, and so is the key of an organization: it becomes a hash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from migration_assets.adoption import Adoption, Cohort, Standing
from migration_assets.adoption.gates import Discrepancy
from migration_assets.manifest import Balance, Manifest, State
from migration_assets.manifest.cutovers import Cutover
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.signoff.withholding import Withholding
from migration_assets.signoff.words import WRITE_BACKS

_NOTHING = Balance(0, dict.fromkeys(State, 0))
_MOST_CHANGES = 100
_MOST_CUTOVERS = 20


@dataclass(frozen=True, kw_only=True)
class CohortLine:
    """Part of a type with a phase of its own; ``name`` empty: what is in no cohort.

    ``rows`` are those that were told to be in it when that was last noted.
    """

    resource_type: str
    name: str
    terms: Mapping[str, str]
    phase: str
    authority: str | None
    rows: int
    left_out: int


@dataclass(frozen=True, kw_only=True)
class PhaseLine:
    """A change of phase; ``done`` False: it was cut off before it counted."""

    resource_type: str
    cohort: str | None
    was: str
    becomes: str
    at: datetime
    by: str
    forced: bool
    reason: str | None
    done: bool
    points: tuple[tuple[bool, str], ...]


@dataclass(frozen=True, kw_only=True)
class InboxLine:
    """What a service sent of one stream, and how its rows landed."""

    service: str
    stream: str
    events: int
    landed: Mapping[str, int]
    last: datetime


@dataclass(frozen=True, kw_only=True)
class AgreementLine:
    """What services wrote beside what the puller would have: rows that changed since a moment."""

    resource_type: str
    since: datetime
    agreed: int
    missed: int
    different: int
    left_out: int
    unknown: int
    share: float


@dataclass(frozen=True, kw_only=True)
class WriteBackLine:
    """What people changed in Medplum, and what became of that in the old system, by state."""

    resource_type: str
    seen: int
    states: Mapping[str, int]

    @property
    def holds(self) -> bool:
        """Whether every change that was seen is in one state that has a name here."""
        return self.seen == sum(self.states.get(each, 0) for each in WRITE_BACKS)


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """The last look at one step of a cutover, of so many; ``facts`` are its numbers and times."""

    step: str
    looks: int
    first_at: datetime
    at: datetime | None
    outcome: str | None
    said: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CutoverLine:
    """One cutover; ``ended_at`` None: it is under way."""

    resource_type: str
    cohort: str | None
    began_at: datetime
    by: str
    ended_at: datetime | None
    outcome: str | None
    reason: str | None
    steps: tuple[StepLine, ...]


@dataclass(frozen=True, kw_only=True)
class Switched:
    """All of it; ``waiting``: events of which a row is still to be delivered."""

    cohorts: tuple[CohortLine, ...]
    changes: tuple[PhaseLine, ...]
    inbox: tuple[InboxLine, ...]
    waiting: int
    agreement: tuple[AgreementLine, ...]
    write_backs: tuple[WriteBackLine, ...]
    cutovers: tuple[CutoverLine, ...]

    @property
    def anything(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.cohorts or self.changes or self.inbox or self.write_backs or self.cutovers)


def switched(
    manifest: Manifest,
    mappings: Sequence[MappingOf[Any]],
    adoption: Adoption,
    names: Withholding,
    agreement: Mapping[str, Discrepancy],
) -> Switched:
    """What is on account of the change of authority over these types."""
    types = [name for each in mappings for name in each.types]
    streams = {each.stream for each in mappings} | {f"fhir/{name}" for name in types}
    return Switched(
        cohorts=tuple(_cohorts(manifest, mappings, adoption, names)),
        changes=tuple(_changes(manifest, types, names)),
        inbox=tuple(
            InboxLine(
                service=each.service,
                stream=each.stream,
                events=each.events,
                landed={
                    name: number for name, number in asdict(each.landed).items() if name != "rows"
                },
                last=each.last,
            )
            for each in manifest.inbox.taken()
            if each.stream in streams
        ),
        waiting=manifest.inbox.waiting(streams),
        agreement=tuple(_agreement(kind, each) for kind, each in agreement.items()),
        write_backs=tuple(
            WriteBackLine(
                resource_type=kind,
                seen=sum(counts.values()),
                states={state.value: number for state, number in counts.items()},
            )
            for kind, counts in sorted(manifest.write_backs.counts(types).items())
        ),
        cutovers=tuple(
            _cutover(manifest, each, names)
            for each in manifest.cutovers.latest(limit=_MOST_CUTOVERS)
            if each.resource_type in types
        ),
    )


def _cohorts(
    manifest: Manifest,
    mappings: Sequence[MappingOf[Any]],
    adoption: Adoption,
    names: Withholding,
) -> list[CohortLine]:
    made = []
    for mapping in mappings:
        standing = adoption.standing(mapping.resource_type)
        if not standing.cohorts:
            continue
        balances = manifest.cohorts.balances(mapping.stream, standing.declaration)
        left_out = {
            name: n for (_why, name), n in manifest.cohorts.left_out(mapping.stream).items()
        }
        for cohort in (None, *standing.cohorts):
            name = "" if cohort is None else cohort.name
            rows = balances.get(name, _NOTHING).eligible
            part = _cohort(mapping, standing, cohort, names, rows, left_out.get(name, 0))
            made.append(part)
    return made


def _cohort(
    mapping: MappingOf[Any],
    standing: Standing,
    cohort: Cohort | None,
    names: Withholding,
    rows: int,
    left_out: int,
) -> CohortLine:
    part, terms = standing.of(cohort), {} if cohort is None else cohort.terms.as_json()
    if "organization" in terms:
        terms["organization"] = names.key("organizations", terms["organization"])
    return CohortLine(
        resource_type=mapping.resource_type,
        name="" if cohort is None else cohort.name,
        terms=terms,
        phase=part.phase.value,
        authority="medplum"
        if part.owned_by_medplum
        else (part.authority.value if part.authority else None),
        rows=rows,
        left_out=left_out,
    )


def _changes(manifest: Manifest, types: Sequence[str], names: Withholding) -> list[PhaseLine]:
    return [
        PhaseLine(
            resource_type=each.resource_type,
            cohort=each.cohort,
            was=each.was,
            becomes=each.becomes,
            at=each.applied_at or each.began_at,
            by=each.by,
            forced=each.forced,
            reason=names.value(each.reason),
            done=each.applied_at is not None,
            points=tuple(
                (bool(one.get("holds")), str(one.get("said", "")))
                for one in each.evidence.get("points", ())
            ),
        )
        for each in manifest.switching.changes(limit=_MOST_CHANGES)
        if each.resource_type in types
    ]


def _agreement(kind: str, found: Discrepancy) -> AgreementLine:
    return AgreementLine(
        resource_type=kind,
        since=found.since,
        agreed=found.agreed,
        missed=found.missed,
        different=found.different,
        left_out=found.left_out,
        unknown=found.unknown,
        share=found.share,
    )


def _cutover(manifest: Manifest, cutover: Cutover, names: Withholding) -> CutoverLine:
    steps: dict[str, StepLine] = {}
    for look in manifest.cutovers.looks(cutover.id):
        before = steps.get(look.step)
        steps[look.step] = StepLine(
            step=look.step,
            looks=1 if before is None else before.looks + 1,
            first_at=look.began_at if before is None else before.first_at,
            at=look.ended_at,
            outcome=look.outcome,
            said=look.said,
            facts={
                name: value
                for name, value in look.evidence.items()
                if isinstance(value, int | float | bool)
            },
        )
    return CutoverLine(
        resource_type=cutover.resource_type,
        cohort=cutover.cohort,
        began_at=cutover.began_at,
        by=cutover.by,
        ended_at=cutover.ended_at,
        outcome=cutover.outcome,
        reason=names.value(cutover.reason),
        steps=tuple(steps.values()),
    )
