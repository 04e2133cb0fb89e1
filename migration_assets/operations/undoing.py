"""Undoing a run: what it wrote to Medplum is made what it was before.

Belongs here: which units are undone together, what may not be, and what is written down when. Does
not belong here: what one resource was before (``restoration``), SQL (``manifest.history``), or how
Medplum is asked and written to (``medplum``).

A resource that the run created is deleted, one that it changed gets the version before from
Medplum's own history, one that it deleted comes back under its id. Whatever was written since is
left alone, with everything its unit owns: an edit made in Medplum, or a later run of ours.

A unit that is undone is in quarantine, so that no pull writes it again by itself; it is so from
before anything is sent (``manifest.retractions``). Cut off anywhere, it is run again: what Medplum
holds as it was before counts as undone, whoever did it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as MappingOf
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.claims.gates import refuse_outdated
from migration_assets.manifest import Lease, Manifest, Settlement, State
from migration_assets.manifest.cohorts import NOT_OURS
from migration_assets.manifest.history import RunWrote, Written, WrittenUnit
from migration_assets.mapping import Mapping
from migration_assets.medplum import (
    Delivered,
    Deliverer,
    Fhir,
    Manner,
    Member,
    Submission,
    Verdict,
    find_by_identifier,
)
from migration_assets.medplum.history import read_histories
from migration_assets.medplum.looking import Looker
from migration_assets.operations.permitted import owned_among, types_to_undo
from migration_assets.operations.referring import Referred
from migration_assets.operations.restoration import TAKEN, Step, of_created, of_history, told
from migration_assets.steps.preparation import member_token

CHUNK = 200
"""Units looked at, undone and settled together: what was looked at is then seconds old."""
EXAMPLES = 3
"""Keys shown per reason of refusal."""
REFERRED_TO = "referred-to"
"""Reason of a unit whose resource another row's refers to, which is not undone: it would dangle."""
LATER_RUN = "written-by-run-"
"""Reason of a unit that the run named at its end wrote since: undo that one first."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What undoing works with. ``run_id`` is the undo's own run, None in a dry run."""

    manifest: Manifest
    fhir: Fhir
    adoption: Adoption
    mappings: MappingOf[str, Mapping[Any]]
    deadline_seconds: float
    run_id: int | None = None
    clock: Callable[[], float] = time.monotonic


@dataclass
class Refused:
    """Units left alone for one reason."""

    units: int = 0
    keys: list[str] = field(default_factory=list)


@dataclass
class Undone:
    """What an undo did, or would do; resources by type and event, refusals by reason and type."""

    resources: Counter[tuple[str, str]] = field(default_factory=Counter)
    already: int = 0
    """Resources that Medplum holds as they were before: nothing is sent for them."""
    units: int = 0
    open: int = 0
    """Units that Medplum did not take before the deadline: run again."""
    refused: dict[tuple[str, str], Refused] = field(default_factory=dict)

    def refuse(self, kind: str, reason: str, key: str) -> None:
        """Count a unit that is left alone."""
        entry = self.refused.setdefault((kind, reason), Refused())
        entry.units += 1
        if len(entry.keys) < EXAMPLES:
            entry.keys.append(key)


def undo(desk: Desk, wanted: Iterable[RunWrote]) -> Undone:
    """Undo runs, the latest first; without ``run_id`` only find out what that would do.

    Raises:
        Transient: Medplum would not answer, or another run is writing one of the types.
        Permanent: Medplum owns a type now, or refuses every request.
    """
    runs = sorted(wanted, key=lambda each: -each.id)
    types = types_to_undo(desk.adoption, desk.mappings, runs)
    undone = Undone()
    with ExitStack() as held:
        leases: list[Lease] = []
        if desk.run_id is not None:
            holder = f"undo-{desk.run_id}"
            leases = [held.enter_context(desk.manifest.lease(each, holder)) for each in types]
            for each in types:
                refuse_outdated(desk.manifest, each, desk.run_id)
        before: set[int] = set()
        for run in runs:
            referred = Referred(desk.manifest, desk.mappings)
            kinds = {kind for kind, _event, _number in run.wrote}
            referred.written_after(run.id, kinds, beyond=before)
            for units in _chunks(desk, run.id, before):
                _undo_chunk(desk, undone, units, referred, leases)
            if desk.run_id is None:  # then nothing was taken away from above the next one
                before.add(run.id)
    return undone


def _chunks(desk: Desk, run_id: int, before: AbstractSet[int]) -> Iterator[list[WrittenUnit]]:
    numbers = desk.manifest.history.units_written(run_id)
    for start in range(0, len(numbers), CHUNK):
        some = numbers[start : start + CHUNK]
        yield desk.manifest.history.written(run_id, some, beyond=before)


def _undo_chunk(
    desk: Desk,
    undone: Undone,
    units: list[WrittenUnit],
    referred: Referred,
    leases: list[Lease],
) -> None:
    """Look, write down, send, settle.

    What is left alone keeps what it refers to, which was written before.
    """
    looker = Looker(desk.fhir, ends_at=desk.clock() + desk.deadline_seconds, clock=desk.clock)
    not_ours = owned_among(desk.manifest, desk.adoption, desk.mappings, units)
    clear = [each for each in units if not _overwritten(undone, each, not_ours)]
    referred.add({each.id for each in units} - {each.id for each in clear})
    planned = _steps(desk, looker, clear)
    taken = _taken(desk, looker, planned.values())
    due: list[tuple[WrittenUnit, list[Step]]] = []
    for unit in clear:
        steps = planned[unit.id]
        reasons = [each for each in steps if isinstance(each, str)]
        whole = [each for each in steps if isinstance(each, Step)]
        if any(each.written.token in taken for each in whole):
            reasons.append(TAKEN)
        if any(_deletes(each) and each.written.token in referred for each in whole):
            reasons.append(REFERRED_TO)
        if reasons:
            undone.refuse(_kind(unit), reasons[0], unit.key)
            referred.add([unit.id])
        else:
            due.append((unit, whole))
    if desk.run_id is None:
        for _unit, whole in due:
            _count(undone, whole)
        return
    _settle_what_needs_nothing(desk, desk.run_id, undone, due, leases)
    _send(desk, desk.run_id, undone, due, leases)


def _overwritten(undone: Undone, unit: WrittenUnit, not_ours: AbstractSet[int]) -> bool:
    """Refuse what is Medplum's by now; and what a later run of ours wrote: first undo that one."""
    if unit.id in not_ours:
        undone.refuse(_kind(unit), NOT_OURS, unit.key)
        return True
    later = max(each.later_run or 0 for each in unit.resources)
    if later:
        undone.refuse(_kind(unit), f"{LATER_RUN}{later}", unit.key)
    return later > 0


def _steps(desk: Desk, looker: Looker, units: list[WrittenUnit]) -> dict[int, list[Step | str]]:
    """For each unit the step of each resource, or why there is none."""
    every = [each for unit in units for each in unit.resources]
    created = [each for each in every if each.first_event == "created"]
    held = looker.held(_named(each) for each in created)
    addresses = {
        (each.token.split("|", 1)[0], each.fhir_id): each.first_version
        for each in every
        if each.first_event != "created"
    }
    histories = read_histories(desk.fhir, looker, addresses)
    return {
        unit.id: [
            of_created(each, held.get(each.fhir_id))
            if each.first_event == "created"
            else of_history(each, histories[each.token.split("|", 1)[0], each.fhir_id])
            for each in unit.resources
        ]
        for unit in units
    }


def _taken(desk: Desk, looker: Looker, planned: Iterable[list[Step | str]]) -> set[str]:
    """Tokens of deleted resources whose identifier another one carries now."""
    back: dict[str, list[Member]] = {}
    for each in (each for steps in planned for each in steps if isinstance(each, Step)):
        if each.member is not None and each.member.former_id is not None:
            back.setdefault(each.member.resource_type, []).append(each.member)
    taken: set[str] = set()
    for kind, members in back.items():
        pairs = [(each.system, each.value) for each in members]
        found = looker.patiently(partial(find_by_identifier, desk.fhir, kind, pairs))
        for member, pair in zip(members, pairs, strict=True):
            if any(str(each["id"]) != member.former_id for each in found[pair]):
                taken.add(member_token(member))
    return taken


def _settle_what_needs_nothing(
    desk: Desk,
    run_id: int,
    undone: Undone,
    due: list[tuple[WrittenUnit, list[Step]]],
    leases: list[Lease],
) -> None:
    done = [(unit, steps) for unit, steps in due if all(each.member is None for each in steps)]
    settled = [_settlement(*each) for each in done]
    desk.manifest.history.settle(settled, run_id=run_id, leases=leases)
    for _unit, steps in done:
        _count(undone, steps)


def _send(
    desk: Desk,
    run_id: int,
    undone: Undone,
    due: list[tuple[WrittenUnit, list[Step]]],
    leases: list[Lease],
) -> None:
    """Write what differs, unit by unit as a whole, and settle each bundle as it is answered.

    What is about to be undone is written down first. A unit that stays open stays held: Medplum may
    have taken what it did not answer.
    """
    by_unit = {unit.id: (unit, steps) for unit, steps in due}
    submissions = [
        Submission(unit.id, members)
        for unit, steps in due
        if (members := tuple(each.member for each in steps if each.member is not None))
    ]
    if not submissions:
        return
    intended = {
        each.unit: [step.intended for step in by_unit[each.unit][1] if step.intended]
        for each in submissions
    }
    former = desk.manifest.history.intend(intended, run_id=run_id, leases=leases)

    def renew() -> None:
        for each in leases:
            desk.manifest.renew(each)

    deliverer = Deliverer(
        desk.fhir,
        exclusive=False,
        deadline_seconds=desk.deadline_seconds,
        clock=desk.clock,
        before_sending=renew,
        # What was edited between our look and our write is not ours to take back.
        manner=Manner(authority="medplum"),
    )
    for delivered in deliverer.deliver(submissions):
        whole: list[Settlement] = []
        tried: list[Settlement] = []
        for each in delivered:
            unit, steps = by_unit[each.submission.unit]
            if each.verdict is Verdict.OPEN:
                undone.open += 1
            elif each.verdict is Verdict.WRITTEN:
                whole.append(_settlement(unit, steps, each))
                _count(undone, steps)
            else:
                tried.append(_settlement(unit, steps, each))
                undone.refuse(_kind(unit), each.reason or "refused", unit.key)
        desk.manifest.history.settle(whole, tried, run_id=run_id, leases=leases, former=former)


def _settlement(
    unit: WrittenUnit, steps: list[Step], delivered: Delivered | None = None
) -> Settlement:
    """What is written down of a unit: the answers, and what needed no sending."""
    by_token = {each.written.token: each for each in steps}
    answers = (
        []
        if delivered is None
        else [told(by_token[member_token(each.member)], each) for each in delivered.answers]
    )
    done = delivered is None or delivered.verdict is Verdict.WRITTEN
    idle = [each for each in steps if each.member is None] if done else []
    return Settlement(
        unit_id=unit.id,
        revision=0,
        state=State.QUARANTINED,
        attempts=(*(attempt for attempt, _ in answers), *(each.attempt for each in idle)),
        targets=(
            *(target for _, target in answers if target is not None),
            *(each.target for each in idle),
        ),
    )


def _named(written: Written) -> Member:
    """The resource under its id, for a look."""
    kind, system, value = written.token.split("|", 2)
    return Member(kind, system, value, None, written.fhir_id)


def _deletes(step: Step) -> bool:
    return step.member is not None and step.member.deletes


def _count(undone: Undone, steps: list[Step]) -> None:
    undone.units += 1
    for each in steps:
        undone.resources[each.written.token.split("|", 1)[0], each.event] += 1
        undone.already += each.member is None


def _kind(unit: WrittenUnit) -> str:
    """The type a unit is counted under: the one written first, which the others belong to."""
    return unit.resources[-1].token.split("|", 1)[0]
