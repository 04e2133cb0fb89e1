"""Delivering: submissions go out in bundles until each has a final answer (design §5).

Belongs here: looking first, sending, reading every entry's outcome, trying again, and what an
ambiguous failure or a 412 leads to. Does not belong here: which units are due, or the account.

Bundles go out one after the other: parallel creates collide in Medplum (contract §3). After a
request without a whole answer the server may still finish it; then nothing is sent again until a
search for its identifiers stands still, and what it found is adopted.
"""

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from migration_assets.errors import Transient
from migration_assets.fhir.references import ConditionalReference, with_references
from migration_assets.mapping import Resource
from migration_assets.medplum.answers import (
    EDITED,
    GONE,
    Answer,
    Delivered,
    Verdict,
    ended,
    read_entry,
)
from migration_assets.medplum.bundles import (
    MAX_ENTRIES,
    Packed,
    Submission,
    bundle_json,
    pack,
    take_bundle,
    too_large,
)
from migration_assets.medplum.client import Ambiguous, Fhir, Unacceptable, find_by_identifier
from migration_assets.medplum.contents import DELETION, content_print, stripped
from migration_assets.medplum.outcomes import Fate
from migration_assets.medplum.revival import revived, without_own_dead

_Told = TypeVar("_Told")

_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds; then the last again, until the deadline
NEEDS_TRANSACTIONS = "needs-transaction-bundles"
"""Reason of a group in a project whose feature transaction-bundles is off (see ``check``)."""

_SETTLE_SECONDS = 2.0  # a server that lost its client finished 100 entries within that


def _backoff(failures: int) -> float:
    return _BACKOFF[min(failures, len(_BACKOFF) - 1)]


class Deliverer:
    """Writes submissions of one type into one project, serially, within one deadline."""

    def __init__(
        self,
        fhir: Fhir,
        *,
        exclusive: bool,
        deadline_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
        before_sending: Callable[[], None] = lambda: None,
    ) -> None:
        """``before_sending`` is called before each bundle, and may forbid it by raising."""
        self._fhir = fhir
        self._exclusive = exclusive
        self._clock = clock
        self._sleep = sleep
        self._new_uuid = new_uuid
        self._before_sending = before_sending
        self._ends_at = clock() + deadline_seconds
        self._most = MAX_ENTRIES  # in a bundle; fewer while one that is refused is looked for
        self.bundles_sent = 0
        self.bytes_sent = 0

    def deliver(self, submissions: Sequence[Submission]) -> Iterator[list[Delivered]]:
        """Send all of them; yields what is finished after each bundle, to be settled at once.

        Those still unanswered at the deadline come as OPEN. Raises Permanent when Medplum
        refuses every request, and Transient when even looking fails until the deadline.
        """
        located, held = self._look_first(submissions)
        if held:
            yield held
        queue, beyond = self._pack_all(located)
        if beyond:
            yield beyond
        failures = 0
        while queue:
            if self._clock() > self._ends_at:
                yield [Delivered(each.submission, Verdict.OPEN) for each in queue]
                return
            self._fhir.pacer.wait_for(queue[0].points)
            taken = take_bundle(queue, points=self._fhir.pacer.points, max_entries=self._most)
            self._before_sending()
            finished, again, throttled = self._send(taken)
            queue = [*again, *queue[len(taken) :]]
            if finished:
                yield finished
            failures = failures + 1 if again and not finished else 0
            if throttled:
                self._fhir.pacer.wait_out(max(throttled))
            elif again:
                self._sleep(_backoff(failures))

    # -- before sending -------------------------------------------------------------------------

    def _look_first(
        self, submissions: Sequence[Submission]
    ) -> tuple[list[Submission], list[Delivered]]:
        """Find members whose id is unknown: 20 points per search instead of 40 per resource."""
        unknown: dict[str, list[tuple[str, str]]] = {}
        for submission in submissions:
            for each in submission.members:
                if each.fhir_id is None:
                    unknown.setdefault(each.resource_type, []).append((each.system, each.value))
        found: dict[ConditionalReference, tuple[str, str | None]] = {}
        doubled: set[ConditionalReference] = set()
        for kind, identifiers in unknown.items():
            search = partial(find_by_identifier, self._fhir, kind, identifiers)
            matches = self._patiently(search)
            for (system, value), resources in matches.items():
                reference = ConditionalReference(kind, system, value)
                if len(resources) > 1:
                    doubled.add(reference)
                elif resources:
                    found[reference] = (str(resources[0]["id"]), _version(resources[0]))
        held = [
            Delivered(each, Verdict.HELD, reason="duplicate-in-medplum")
            for each in submissions
            if any(member.reference in doubled for member in each.members)
        ]
        stopped = {each.submission.unit for each in held}
        return [each.locate(found) for each in submissions if each.unit not in stopped], held

    def _patiently(self, ask: Callable[[], _Told]) -> _Told:
        """Ask what changes nothing, again while Medplum says not now and the deadline allows."""
        for attempt in itertools.count():
            try:
                return ask()
            except Transient as error:
                if self._clock() > self._ends_at:
                    raise
                self._sleep(error.retry_after or _backoff(attempt))
        raise AssertionError  # the count is endless

    def _pack_all(self, submissions: list[Submission]) -> tuple[list[Packed], list[Delivered]]:
        packed: list[Packed] = []
        beyond: list[Delivered] = []
        for each in submissions:
            # Deleting what Medplum does not hold is done already.
            members = tuple(m for m in each.members if m.body is not None or m.fhir_id is not None)
            if not members:
                beyond.append(Delivered(each, Verdict.WRITTEN))
                continue
            one = pack(
                replace(each, members=members), exclusive=self._exclusive, new_uuid=self._new_uuid
            )
            if too_large(one):
                beyond.append(Delivered(each, Verdict.HELD, reason="resource-too-large"))
            else:
                packed.append(one)
        grouped = any(each.nested for each in packed)
        if grouped and not self._patiently(self._fhir.transactions_available):
            # Sent as it is, a group would be written by halves (contract §0): it waits instead.
            beyond += [
                Delivered(each.submission, Verdict.HELD, reason=NEEDS_TRANSACTIONS)
                for each in packed
                if each.nested
            ]
            packed = [each for each in packed if not each.nested]
        return packed, beyond

    # -- sending --------------------------------------------------------------------------------

    def _send(self, taken: list[Packed]) -> tuple[list[Delivered], list[Packed], list[float]]:
        """Send one bundle; returns what is finished, what must go again, and waits asked for."""
        body = bundle_json(each.json for each in taken)
        self.bundles_sent += 1
        self.bytes_sent += len(body)
        try:
            entries = self._fhir.post_bundle(body, len(taken))
        except Ambiguous:
            return [], self._after_ambiguity(taken), []
        except Transient as error:
            return [], taken, [error.retry_after or 0.0]
        except Unacceptable:
            return *self._in_halves(taken), []
        self._most = min(MAX_ENTRIES, 2 * self._most)
        return self._sorted(taken, entries)

    def _sorted(
        self, taken: list[Packed], entries: list[dict[str, Any]]
    ) -> tuple[list[Delivered], list[Packed], list[float]]:
        """Read each entry's own answer: finished, to go again, or to wait for the quota."""
        bundle = str(self._new_uuid())
        finished: list[Delivered] = []
        lost_races: list[Packed] = []
        throttled: list[Packed] = []
        waits: list[float] = []
        for index, (packed, entry) in enumerate(zip(taken, entries, strict=True)):
            answers, outcome = read_entry(packed, entry, bundle, index)
            if outcome.fate is Fate.DONE:
                finished.append(Delivered(packed.submission, Verdict.WRITTEN, tuple(answers)))
            elif outcome.fate is Fate.WAIT:
                throttled.append(packed)
                waits.append(outcome.wait or 0.0)
            elif outcome.fate is Fate.RETRY:
                lost_races.append(packed)
            elif outcome.fate is Fate.EDITED:
                examined = self._examine(packed, answers)
                if isinstance(examined, Submission):
                    lost_races.append(replace(packed, submission=examined))
                else:
                    finished.append(examined)
            elif outcome.fate is Fate.GONE and (anew := without_own_dead(packed.submission)):
                lost_races.append(replace(packed, submission=anew))
            else:
                finished.append(ended(packed, answers, outcome))
        return finished, [*self._relocate(lost_races), *throttled], waits

    def _in_halves(self, taken: list[Packed]) -> tuple[list[Delivered], list[Packed]]:
        """A bundle refused whole is sent in halves, until the one that is refused is found."""
        if len(taken) > 1:
            self._most = len(taken) // 2
            return [], taken
        return [Delivered(taken[0].submission, Verdict.REFUSED, reason="refused-whole")], []

    def _after_ambiguity(self, taken: list[Packed]) -> list[Packed]:
        """Wait until searches for the identifiers stand still, then adopt what was written."""
        before: object = None
        while self._clock() <= self._ends_at:
            self._sleep(_SETTLE_SECONDS)
            again = self._relocate(taken)
            now = [[m.fhir_id for m in each.submission.members] for each in again]
            if now == before:
                return again
            before = now
        return taken

    def _relocate(self, packed: list[Packed]) -> list[Packed]:
        """Look again for members without an id, and send what is still unknown conditionally.

        A lost race, or an answer that got lost, may have created them: plain POST would double.
        """
        if not packed:
            return []
        located, _held = self._look_first([each.submission for each in packed])
        by_unit = {each.unit: each for each in located}
        return [
            pack(
                by_unit.get(each.submission.unit, each.submission),
                exclusive=False,
                new_uuid=self._new_uuid,
            )
            for each in packed
        ]

    def _examine(self, packed: Packed, answers: list[Answer]) -> Delivered | Submission:
        """412 on If-Match: whose was the write in between?

        A run that died after Medplum's answer comes back with the old version in its If-Match. If
        Medplum holds just what we want to write, that is it; if it holds what we once sent, we go
        on from there, as we do if it is gone and we had begun to delete it. All else is an edit.
        """
        submission = packed.submission
        literals = {m.reference: f"{m.resource_type}/{m.fhir_id}" for m in submission.members}
        held = self._held(submission)
        wanted = True
        for member in submission.members:
            body = member.body and with_references(member.body, literals.get)
            if body is None or member.fhir_id is None:
                wanted = False
                continue
            found = held.get(member.fhir_id)
            if found is None and DELETION in member.sent:
                wanted = False
                continue
            if found is None:
                return Delivered(submission, Verdict.HELD, tuple(answers), reason=GONE)
            if stripped(body) == stripped(found):
                continue
            wanted = False
            if _version(found) != member.version_id and content_print(found) not in member.sent:
                return Delivered(submission, Verdict.HELD, tuple(answers), reason=EDITED)
        if not wanted:
            located = {
                m.reference: (m.fhir_id, _version(held[m.fhir_id]))
                for m in submission.members
                if m.fhir_id in held
            }
            absent = {m.fhir_id for m in submission.members if m.body} - held.keys()
            return revived(submission.locate(located), absent)
        confirmed = tuple(
            replace(
                each,
                event="confirmed",
                fhir_id=each.member.fhir_id,
                version_id=_version(held[str(each.member.fhir_id)]),
            )
            for each in answers
        )
        return Delivered(submission, Verdict.WRITTEN, confirmed)

    def _held(self, submission: Submission) -> dict[str, Resource]:
        """What Medplum holds under the ids a submission is written to, by id."""
        held: dict[str, Resource] = {}
        for member in submission.members:
            if member.fhir_id is not None:
                search = partial(self._fhir.search, member.resource_type, {"_id": member.fhir_id})
                found = self._patiently(search)
                held.update((str(each["id"]), each) for each in found)
        return held


def _version(resource: Resource) -> str | None:
    version: str | None = (resource.get("meta") or {}).get("versionId")
    return version
