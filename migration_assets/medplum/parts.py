"""Parts: submissions that go out in several steps, and the account of each on its way.

Belongs here: in which order the members of a group are written where it cannot be written at
once, and putting its answers together again. Does not belong here: sending a step.

A group on its way is not atomic: between two steps Medplum holds half of it. Its unit stays open
until it is whole; a run that dies in between leaves members that the next run finds by identifier.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from migration_assets.fhir.references import ConditionalReference, find_references, with_references
from migration_assets.medplum.answers import NOT_WRITTEN, Answer, Delivered, Verdict
from migration_assets.medplum.bundles import Member, Submission


def in_order(submission: Submission) -> tuple[Member, ...] | None:
    """Members so that none refers to one that comes into being after it; deletions last.

    None where they refer to each other in a circle: then no order will do.
    """
    deleted = [each for each in submission.members if each.deletes]
    waiting = [each for each in submission.members if not each.deletes]
    new = {each.reference for each in waiting if each.fhir_id is None}
    ordered: list[Member] = []
    while waiting:
        ready = [each for each in waiting if not _needs(each) & new - {each.reference}]
        if not ready:
            return None
        ordered.append(ready[0])
        waiting.remove(ready[0])
        new.discard(ready[0].reference)
    return (*ordered, *deleted)


def _needs(member: Member) -> set[ConditionalReference]:
    return {each.target for each in find_references(member.body)} if member.body else set()


@dataclass(frozen=True)
class _Part:
    """A submission on its way: the steps still to come, the answers so far."""

    whole: Submission
    steps: tuple[tuple[Member, ...], ...]
    answers: tuple[Answer, ...]


class Parts:
    """The submissions of one delivery that take several steps, by unit."""

    def __init__(self) -> None:
        self._on_their_way: dict[int, _Part] = {}

    def begin(
        self,
        whole: Submission,
        steps: Iterable[tuple[Member, ...]],
        answers: Iterable[Answer] = (),
    ) -> Submission:
        """The first step of a submission; ``answers`` are for members that need none."""
        first, *further = steps
        self._on_their_way[whole.unit] = _Part(whole, tuple(further), tuple(answers))
        return _step(whole, first)

    def whole(self, submission: Submission) -> Submission:
        """The submission that a step belongs to; itself if it takes one step only."""
        part = self._on_their_way.get(submission.unit)
        return part.whole if part else submission

    def advance(self, finished: list[Delivered]) -> tuple[list[Delivered], list[Submission]]:
        """Take the ends of some steps: submissions that are finished, and steps to send next."""
        ended: list[Delivered] = []
        following: list[Submission] = []
        for each in finished:
            part = self._on_their_way.pop(each.submission.unit, None)
            if part is None:
                ended.append(each)
                continue
            answers = (*part.answers, *each.answers)
            whole = part.whole.locate(
                {
                    a.member.reference: (a.fhir_id, a.version_id)
                    for a in each.answers
                    if a.event not in NOT_WRITTEN and a.fhir_id is not None
                }
            )
            if each.verdict is Verdict.WRITTEN and part.steps:
                self._on_their_way[whole.unit] = _Part(whole, part.steps[1:], answers)
                following.append(_step(whole, part.steps[0]))
            else:
                ended.append(replace(each, submission=whole, answers=answers))
        return ended, following


def _step(whole: Submission, members: tuple[Member, ...]) -> Submission:
    """Some members as a submission of their own, their references to the others made literal."""
    known = {each.reference: each for each in whole.members}
    literals = {
        name: f"{each.resource_type}/{each.fhir_id}"
        for name, each in known.items()
        if each.fhir_id is not None
    }
    return Submission(
        whole.unit,
        tuple(
            replace(each, body=with_references(each.body, literals.get))
            if each.body is not None
            else each
            for each in members
        ),
    )
