"""Repairing what a comparison found: only what the account proves, and only what was asked for.

Belongs here: which findings may be repaired, and how. Does not belong here: finding them
(``reconciliation``), or how a resource is written (``pipeline``, ``medplum``).

- *missing*: the unit becomes a debt again and is delivered by the pipeline, an attempt like any
  other; the resource comes back under the id it had. What only lost its identifier is not missing:
  delivered again it would be a second record. A person decides.
- *duplicates*: the surplus is deleted if an attempt of ours created it, it still is the version we
  made, the one on account is found beside it, and nothing refers to it (``twins``).
- *references*: the one reference is set to where the row says, in whatever else the resource holds,
  if it is still the version that was looked at. Other edits stay, and stay conflicts.

Everything is searched for once more before it is written. Whatever is left alone has a reason.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from migration_assets.claims.gates import refuse_outdated
from migration_assets.errors import Permanent
from migration_assets.fhir.sent import passthroughs
from migration_assets.manifest import Attempt, Settlement, State, Target
from migration_assets.manifest.cohorts import NOT_OURS
from migration_assets.manifest.reconciliations import Finding, Held
from migration_assets.manifest.records import chunked
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping, Resource
from migration_assets.medplum import (
    NOT_WRITTEN,
    Answer,
    Delivered,
    Manner,
    Member,
    Submission,
    Verdict,
)
from migration_assets.medplum.contents import stripped
from migration_assets.pipeline import migrate
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.differences import differences
from migration_assets.reconciliation.expectation import Expectations
from migration_assets.reconciliation.findings import Kind, all_findings
from migration_assets.reconciliation.places import with_reference
from migration_assets.reconciliation.twins import NOBODY_KNOWS, referred_to, referrers_known
from migration_assets.run import Run
from migration_assets.steps.cohorts import owned_units

TWIN_DELETED = "twin-deleted"
"""Event of an attempt that deleted a surplus resource; the one on account is untouched by it."""


class Repair(StrEnum):
    """What may be repaired."""

    MISSING = "missing"
    DUPLICATES = "duplicates"
    REFERENCES = "references"


KINDS = {
    Repair.MISSING: (Kind.MISSING,),
    Repair.DUPLICATES: (Kind.DUPLICATE,),
    Repair.REFERENCES: (Kind.REFERENCE_WRONG, Kind.REFERENCE_MISSING),
}
"""Which findings each repair is for."""


@dataclass
class Repaired:
    """What was repaired, or would be; and what was left alone, by reason."""

    repair: Repair
    done: int = 0
    left: Counter[str] = field(default_factory=Counter)


def repair(run: Run, mapping: Mapping[Any], number: int, what: Repair, *, act: bool) -> Repaired:
    """Repair the findings of comparison ``number``; without ``act`` only say what that would do.

    Raises:
        Permanent: the phase forbids writing the type, or Medplum cannot be asked.
        Transient: another run writes the type, or Medplum does not take it now.
    """
    standing = run.adoption.standing(mapping.resource_type)
    if not standing.may_deliver:
        raise Permanent(f"{mapping.resource_type} cannot be repaired: {standing.refusal}")
    if run.fhir is None:
        raise Permanent("Repairing asks and writes Medplum, and no credentials are set.")
    desk = _Desk(run, mapping, Asker(run.fhir), Repaired(what), act=act)
    steps = {
        Repair.MISSING: desk.missing,
        Repair.DUPLICATES: desk.duplicates,
        Repair.REFERENCES: desk.references,
    }
    found = [
        each for kind in KINDS[what] for each in all_findings(run.manifest, number, kind.value)
    ]
    for some in chunked(found, 200):
        steps[what](some)
    return desk.repaired


@dataclass
class _Desk:
    """One repair under way."""

    run: Run
    mapping: Mapping[Any]
    asker: Asker
    repaired: Repaired
    act: bool

    def missing(self, found: list[Finding]) -> None:
        """Deliver again what is still not found, and say so of what is."""
        due: list[tuple[str, str]] = []
        owned = self._owned(found)
        for kind, some in _by_kind(found):
            carriers = self.asker.carrying(kind, [each.key for each in some])
            for each in some:
                if each.unit_id in owned:
                    self.repaired.left[NOT_OURS] += 1
                elif each.reason == "identifier-lost" or carriers[each.key]:
                    self.repaired.left[each.reason if not carriers[each.key] else "found"] += 1
                else:
                    due.append((each.token, each.fhir_id))
        if not self.act:
            self.repaired.done += len(due)
            return
        kind = self.mapping.resource_type
        with self.run.manifest.lease(kind, self.run.label):
            reopened = self.run.manifest.reconciliations.reopen_missing(due)
        if len(reopened) < len(due):
            self.repaired.left["moved-on"] += len(due) - len(reopened)
        if reopened:
            keys = {key for _unit, key in reopened}
            chosen = Subset(keys=tuple(sorted(keys)))
            migrate(self.run, self.mapping, chosen)
            for sent in passthroughs(self.mapping):
                if self.run.manifest.handovers.any_units([sent.stream]):
                    migrate(self.run, sent, chosen)
            self._count(Counter(unit for unit, _key in reopened))

    def _count(self, reopened: Counter[int]) -> None:
        """Resources of units that arrived, and what became of those that did not."""
        for unit, resources in reopened.items():
            ((state, why),) = self.run.manifest.decisions.outcomes([unit])
            if state in (State.MIGRATED, State.UNCHANGED):
                self.repaired.done += resources
            else:
                self.repaired.left[why or state.value] += resources

    def duplicates(self, found: list[Finding]) -> None:
        """Delete twins that are provably ours and that nothing refers to."""
        submissions: dict[int, tuple[Finding, Submission]] = {}
        for kind, some in _by_kind(found):
            mine = [each for each in some if each.expected]  # others are not on account
            if len(mine) < len(some):
                self.repaired.left["not-on-account"] += len(some) - len(mine)
            known = referrers_known(kind)
            referred = referred_to(self.asker, kind, [e.fhir_id for e in mine]) if known else set()
            carriers = self.asker.carrying(kind, [each.key for each in mine])
            for each in mine:
                now = {str(one["id"]): one for one in carriers[each.key]}
                reason = self._keeps_twin(each, now)
                if reason is None and not known:
                    reason = NOBODY_KNOWS
                if reason is None and each.fhir_id in referred:
                    reason = "referred-to"
                if reason is not None:
                    self.repaired.left[reason] += 1
                    continue
                version = now[each.fhir_id]["meta"]["versionId"]
                member = Member(*_parts(each.token), None, each.fhir_id, version)
                submissions[len(submissions)] = (each, Submission(len(submissions), (member,)))
        self._send(self._ours(submissions), event=TWIN_DELETED)

    def _keeps_twin(self, twin: Finding, now: dict[str, Resource]) -> str | None:
        """Why a twin may not be deleted, or None."""
        if twin.fhir_id not in now:
            return "gone"
        if twin.expected not in now:
            return "the-only-one"
        ours = self.run.manifest.reconciliations.version_we_wrote(twin.token, twin.fhir_id)
        if ours is None:
            return "not-ours"
        return None if now[twin.fhir_id]["meta"]["versionId"] == ours else "edited"

    def references(self, found: list[Finding]) -> None:
        """Set references to where the rows say, and leave all else as it is."""
        submissions: dict[int, tuple[Finding, Submission]] = {}
        for kind, some in _by_kind(found):
            here = {str(e["id"]): e for e in self._held(kind, some)}
            wanted: dict[str, list[Finding]] = {}
            for each in some:
                wanted.setdefault(each.token, []).append(each)
            for wrong in wanted.values():
                body = here.get(wrong[0].fhir_id)
                for each in wrong:
                    body = _repointed(body, each)
                if body is None:
                    self.repaired.left["moved-on"] += len(wrong)
                    continue
                version = body["meta"]["versionId"]
                content = stripped(body)
                member = Member(*_parts(wrong[0].token), content, wrong[0].fhir_id, version)
                submissions[len(submissions)] = (wrong[0], Submission(len(submissions), (member,)))
        self._send(self._ours(submissions), event=None)

    def _ours(
        self, submissions: dict[int, tuple[Finding, Submission]]
    ) -> dict[int, tuple[Finding, Submission]]:
        """Those of units whose cohort is not Medplum's: what people own there is theirs to mend."""
        owned = self._owned(each for each, _submission in submissions.values())
        ours = {n: each for n, each in submissions.items() if each[0].unit_id not in owned}
        if owned:
            self.repaired.left[NOT_OURS] += len(submissions) - len(ours)
        return ours

    def _owned(self, found: Iterable[Finding]) -> set[int]:
        standing = self.run.adoption.standing(self.mapping.resource_type)
        numbers = [each.unit_id for each in found if each.unit_id is not None]
        return owned_units(self.run.manifest, self.mapping, standing, numbers)

    def _held(self, kind: str, some: list[Finding]) -> Iterator[Resource]:
        carriers = self.asker.carrying(kind, {each.key for each in some})
        for resources in carriers.values():
            yield from resources

    def _send(self, submissions: dict[int, tuple[Finding, Submission]], event: str | None) -> None:
        """Write, and keep every answer as an attempt of the unit."""
        if not self.act or not submissions:
            self.repaired.done += len(submissions)
            return
        manifest, fhir = self.run.manifest, self.run.fhir
        assert fhir is not None  # noqa: S101 - ``repair`` refused that
        with manifest.lease(self.mapping.resource_type, self.run.label) as lease:
            refuse_outdated(manifest, self.mapping.resource_type, self.run.id)
            deliverer = self.run.new_deliverer(
                fhir,
                exclusive=False,
                deadline_seconds=self.run.deadline_seconds,
                before_sending=lambda: manifest.renew(lease),
                # What was edited between our look and our write is not ours to repair.
                manner=Manner(authority="medplum"),
            )
            for delivered in deliverer.deliver([each for _finding, each in submissions.values()]):
                tried = [
                    self._settlement(submissions[each.submission.unit][0], each, event)
                    for each in delivered
                ]
                manifest.history.settle((), tried, run_id=self.run.id)

    def _settlement(self, finding: Finding, delivered: Delivered, event: str | None) -> Settlement:
        """The attempts; and the target, if the resource is now as it was delivered."""
        if delivered.verdict is Verdict.WRITTEN:
            self.repaired.done += 1
        else:
            self.repaired.left[delivered.reason or delivered.verdict.value] += 1
        targets = tuple(
            target
            for answer in delivered.answers
            if event is None and answer.event not in NOT_WRITTEN
            for target in self._whole_again(finding, answer)
        )
        return Settlement(
            unit_id=finding.unit_id or 0,
            revision=0,
            state=State.PENDING,  # not kept: only attempts and targets are
            attempts=tuple(_attempt(finding, each, event) for each in delivered.answers),
            targets=targets,
        )

    def _whole_again(self, finding: Finding, answer: Answer) -> Iterator[Target]:
        """The target under its new version; none where another edit still stands."""
        account = self.run.manifest.reconciliations
        held = account.held([finding.token]).get(finding.token)
        if held is None or answer.member.body is None:
            return
        expected = Expectations(self.run.manifest, self.asker, self.mapping).of([held])
        whole = expected.get(finding.token)
        if whole is None or differences(whole, answer.member.body):
            return
        named = account.delivered_references([held.id]).get(held.id)
        yield from self._targets(held, answer, named)

    def _targets(
        self, held: Held, answer: Answer, named: tuple[tuple[str, str], ...] | None
    ) -> Iterator[Target]:
        for settled in self.run.manifest.remapping.settled([held.unit_id]):
            for each in settled.unit.targets:
                if each.token == held.token:
                    yield Target(
                        each.resource_type,
                        each.token,
                        answer.fhir_id,
                        answer.version_id,
                        each.fingerprint,
                        references=named,
                    )


def _repointed(resource: Resource | None, finding: Finding) -> Resource | None:
    """The resource with one reference as delivered; None where there is no place for it."""
    if resource is None or not finding.expected:
        return None
    return with_reference(resource, finding.path, finding.expected)


def _attempt(finding: Finding, answer: Answer, event: str | None) -> Attempt:
    wrote = answer.event not in NOT_WRITTEN
    return Attempt(
        finding.token,
        answer.method,
        answer.bundle,
        answer.entry,
        answer.status,
        event if event is not None and wrote else answer.event,
        answer.outcome,
        answer.fhir_id,
        answer.version_id,
    )


def _by_kind(found: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    kinds: dict[str, list[Finding]] = {}
    for each in found:
        kinds.setdefault(each.token.split("|", 1)[0], []).append(each)
    return list(kinds.items())


def _parts(token: str) -> tuple[str, str, str]:
    kind, system, value = token.split("|", 2)
    return kind, system, value
