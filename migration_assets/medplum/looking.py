"""Looking: what Medplum holds under an identifier or an id, asked until it answers.

Belongs here: every search that delivering makes, and patience with it. Does not belong here: what
follows from what is found. A search changes nothing, so asking again never harms; it is the only
proof there is, because reading by id may answer from a cache (contract §3).
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from migration_assets.errors import Transient
from migration_assets.fhir.references import ConditionalReference
from migration_assets.mapping import Resource
from migration_assets.medplum.answers import DUPLICATE, Answer, Delivered, Verdict
from migration_assets.medplum.bundles import Member, Submission
from migration_assets.medplum.client import SEARCH_COUNT, Fhir, find_by_identifier

_Told = TypeVar("_Told")

_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds; then the last again, until the deadline
_IDS = SEARCH_COUNT - 100  # ids of one search; as in find_by_identifier


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return _BACKOFF[min(failures, len(_BACKOFF) - 1)]


def version_of(resource: Resource) -> str | None:
    """The version Medplum gave a resource."""
    version: str | None = (resource.get("meta") or {}).get("versionId")
    return version


class Looker:
    """Searches of one delivery, within its deadline."""

    def __init__(
        self,
        fhir: Fhir,
        *,
        ends_at: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fhir = fhir
        self._ends_at = ends_at
        self._clock = clock
        self._sleep = sleep

    def patiently(self, ask: Callable[[], _Told]) -> _Told:
        """Ask what changes nothing, again while Medplum says not now and the deadline allows."""
        for attempt in itertools.count():
            try:
                return ask()
            except Transient as error:
                if self._clock() > self._ends_at:
                    raise
                self._sleep(error.retry_after or backoff(attempt))
        raise AssertionError  # the count is endless

    def located(
        self, submissions: Sequence[Submission]
    ) -> tuple[list[Submission], list[Delivered]]:
        """Find members whose id is unknown: 20 points per search instead of 40 per resource.

        Returns the submissions with what was found, and those held because of duplicates.
        """
        unknown: dict[str, list[tuple[str, str]]] = {}
        for submission in submissions:
            for each in submission.members:
                if each.fhir_id is None:
                    unknown.setdefault(each.resource_type, []).append((each.system, each.value))
        found: dict[ConditionalReference, tuple[str, str | None]] = {}
        doubled: dict[ConditionalReference, list[Resource]] = {}
        for kind, identifiers in unknown.items():
            search = partial(find_by_identifier, self._fhir, kind, identifiers)
            matches = self.patiently(search)
            for (system, value), resources in matches.items():
                reference = ConditionalReference(kind, system, value)
                if len(resources) > 1:
                    doubled[reference] = resources
                elif resources:
                    found[reference] = (str(resources[0]["id"]), version_of(resources[0]))
        held = [
            duplicated(each, doubled)
            for each in submissions
            if any(member.reference in doubled for member in each.members)
        ]
        stopped = {each.submission.unit for each in held}
        return [each.locate(found) for each in submissions if each.unit not in stopped], held

    def duplicates(self, refused: Delivered) -> Delivered:
        """The same end, with an answer for each resource that carries an identifier of it."""
        doubled: dict[ConditionalReference, list[Resource]] = {}
        for member in refused.submission.members:
            identifier = (member.system, member.value)
            search = partial(find_by_identifier, self._fhir, member.resource_type, [identifier])
            resources = self.patiently(search)[identifier]
            if len(resources) > 1:
                doubled[member.reference] = resources
        named = duplicated(refused.submission, doubled)
        return replace(refused, answers=(*refused.answers, *named.answers))

    def after_rollback(self, finished: list[Delivered]) -> list[Delivered]:
        """The same ends; a refused group names what a search finds of it all the same.

        A transaction that was refused left nothing behind, if it was one (contract §0).
        """
        refused = [
            each
            for each in finished
            if each.verdict is Verdict.REFUSED and len(each.submission.members) > 1
        ]
        if not refused:
            return finished
        located, _held = self.located([each.submission for each in refused])
        now = {each.unit: each for each in located}
        return [_with_left_behind(each, now.get(each.submission.unit)) for each in finished]

    def held(self, members: Iterable[Member]) -> dict[str, Resource]:
        """What Medplum holds under the ids that members are written to, by id."""
        wanted: dict[str, list[str]] = {}
        for member in members:
            if member.fhir_id is not None:
                wanted.setdefault(member.resource_type, []).append(member.fhir_id)
        held: dict[str, Resource] = {}
        for kind, ids in wanted.items():
            for start in range(0, len(ids), _IDS):
                some = {"_id": ",".join(ids[start : start + _IDS])}
                found = self.patiently(partial(self._fhir.search, kind, some))
                held.update((str(each["id"]), each) for each in found)
        return held


def duplicated(
    submission: Submission, doubled: dict[ConditionalReference, list[Resource]]
) -> Delivered:
    """Held, because several resources carry an identifier; each is named in an answer."""
    answers = [
        Answer(
            member,
            "SEARCH",
            "",
            index,
            "200",
            "duplicate",
            fhir_id=str(resource["id"]),
            version_id=version_of(resource),
        )
        for member in submission.members
        for index, resource in enumerate(doubled.get(member.reference, ()))
    ]
    return Delivered(submission, Verdict.HELD, tuple(answers), reason=DUPLICATE)


def _with_left_behind(refused: Delivered, now: Submission | None) -> Delivered:
    if now is None or now == refused.submission:
        return refused
    before = {each.reference for each in refused.submission.members if each.fhir_id is None}
    left = [
        Answer(
            member,
            "SEARCH",
            "",
            index,
            "200",
            "left-behind",
            fhir_id=member.fhir_id,
            version_id=member.version_id,
        )
        for index, member in enumerate(now.members)
        if member.reference in before and member.fhir_id is not None
    ]
    return replace(refused, submission=now, answers=(*refused.answers, *left))
