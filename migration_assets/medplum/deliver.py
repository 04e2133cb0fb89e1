"""Delivering: submissions go out in bundles until each has a final answer (design §5).

Belongs here: looking first, taking bundles, reading every entry's outcome, trying again. Does not
belong here: which units are due, or the account; what needs sending at all (``packing``); how many
bundles travel at once (``lanes``); whose write an unexpected version was (``conflicts``).

What may collide in Medplum goes out one bundle after the other (contract §3). After a request
without a whole answer the server may still finish it; then its entries are not sent again until a
search for their identifiers stands still, and what it found is adopted.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Any, Literal

from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets.mapping import Resource
from migration_assets.medplum.answers import Answer, Delivered, Verdict, ended, read_entry
from migration_assets.medplum.bundles import (
    MAX_BYTES,
    MAX_ENTRIES,
    Packed,
    Submission,
    bundle_json,
    take_bundle,
)
from migration_assets.medplum.client import Fhir
from migration_assets.medplum.conflicts import Authority, examine
from migration_assets.medplum.jobs import JobFailed, RunsJobs
from migration_assets.medplum.lanes import Entries, Lanes
from migration_assets.medplum.looking import Looker, backoff
from migration_assets.medplum.outcomes import Fate, Outcome
from migration_assets.medplum.packing import Packer
from migration_assets.medplum.quota import Grant
from migration_assets.medplum.revival import without_own_dead
from migration_assets.medplum.wire import Ambiguous, Throttled, Unacceptable

Via = Literal["batch", "async_batch"]
"""How bundles are carried out: at once, or as jobs in the server's own time (contract §9)."""

_SETTLE_SECONDS = 2.0  # a server that lost its client finished 100 entries within that
_SIGN_OF_LIFE = 60.0  # seconds of a wait between two; a lease lasts ten times as long
_JOB_ENTRIES = 1_000
_JOB_BYTES = 8 * 1024 * 1024  # of 50 MB that a job may have: what is lost with it stays bounded


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a type is delivered, beyond whether we are its only writer.

    ``authority``: whose write wins where Medplum was edited. With ``legacy`` the edit is written
    over, and the answer says so. Otherwise the submission is held, with both versions named;
    ``medplum`` also looks for edits before it deletes, which no If-Match guards.

    ``max_concurrency``: bundles under way at most, of entries that cannot collide.

    ``via`` async_batch: jobs, one at a time. They create conditionally whatever the strategy says,
    because a job may still be running when the next run begins. Groups never go into jobs, which
    would tear them apart.
    """

    authority: Authority | None = None
    max_concurrency: int = 1
    via: Via = "batch"


class Deliverer:
    """Writes submissions of one type into one project, within one deadline."""

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
        manner: Manner = Manner(),
    ) -> None:
        """``before_sending`` is called before each bundle, and may forbid it by raising.

        It is called before each look at a job too, and in each longer wait; always in the calling
        thread.
        """
        self._fhir = fhir
        self._clock = clock
        self._before_sending = before_sending
        self._sleep = partial(_awake, sleep, before_sending)
        self._new_uuid = new_uuid
        self._authority = manner.authority
        self._jobs = manner.via == "async_batch"
        if self._jobs:
            _jobs_of(fhir)
        self._max_concurrency = 1 if self._jobs else manner.max_concurrency
        self._ends_at = clock() + deadline_seconds
        self._looker = Looker(fhir, ends_at=self._ends_at, clock=clock, sleep=self._sleep)
        self._packer = Packer(
            fhir,
            self._looker,
            exclusive=exclusive and not self._jobs,
            authority=manner.authority,
            new_uuid=new_uuid,
        )
        self._most = self._limit  # in a bundle; fewer while one that is refused is looked for
        self.bundles_sent = 0
        self.bytes_sent = 0

    @property
    def groups_sent_apart(self) -> int:
        """Groups that went out member by member: they were not atomic."""
        return self._packer.groups_apart

    def deliver(self, submissions: Sequence[Submission]) -> Iterator[list[Delivered]]:
        """Send all of them; yields what is finished after each bundle, to be settled at once.

        Those still unanswered at the deadline come as OPEN. Raises Permanent when Medplum
        refuses every request, and Transient when even looking fails until the deadline.
        """
        located, held = self._looker.located(submissions)
        if held:
            yield held
        queue, beyond = self._packer.pack_all(located)
        if beyond:
            yield beyond
        failures = 0
        with Lanes(self._max_concurrency, self._clock) as lanes:
            while queue or lanes.busy:
                queue = self._let_leave(lanes, queue)
                if not lanes.busy:  # the deadline: nothing leaves any more
                    whole = self._packer.parts.whole
                    yield [Delivered(whole(each.submission), Verdict.OPEN) for each in queue]
                    return
                finished, again, throttled = self._read(lanes, *lanes.answer())
                finished, following = self._packer.parts.advance(finished)
                queue = [*again, *map(self._packer.pack, following), *queue]
                if finished:
                    yield finished
                failures = failures + 1 if again and not finished else 0
                if throttled:
                    self._fhir.pacer.wait_out(max(throttled))
                elif again:
                    self._sleep(backoff(failures))

    # -- sending --------------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        return _JOB_ENTRIES if self._jobs else MAX_ENTRIES

    def _let_leave(self, lanes: Lanes, queue: list[Packed]) -> list[Packed]:
        """Send as many bundles as there is room and quota for; returns what is still to go."""
        if self._max_concurrency > 1 or self._jobs:
            # What travels alike together, else bundles would be cut at every change.
            queue = sorted(queue, key=self._travels_alone)
        while queue and lanes.room_for(queue[0]) and self._clock() <= self._ends_at:
            grant = None
            if not self._as_job(queue[0]):  # a job waits for the quota by itself
                grant = self._grant(queue, wait=not lanes.busy)
                if grant is None:
                    break  # the answers under way tell what is left
            taken = self._take(queue, grant.points if grant else None)
            post = self._posting(taken, grant)
            self._before_sending()  # last: whoever slept until now may have lost the right to send
            lanes.send(taken, post)
            queue = queue[len(taken) :]
        return queue

    def _grant(self, queue: list[Packed], *, wait: bool) -> Grant | None:
        """Points for a bundle that begins as the queue does."""
        most = sum(each.points for each in queue[: self._most])
        ask = self._fhir.pacer.reserve if wait else self._fhir.pacer.offer
        return ask(queue[0].points, most)

    def _travels_alone(self, packed: Packed) -> bool:
        return packed.nested if self._jobs else not packed.parallel

    def _as_job(self, packed: Packed) -> bool:
        return self._jobs and not packed.nested

    def _take(self, queue: list[Packed], points: int | None) -> list[Packed]:
        if self._max_concurrency == 1 and not self._jobs:
            return take_bundle(queue, points=points, max_entries=self._most)
        alone = self._travels_alone(queue[0])
        alike = takewhile(lambda each: self._travels_alone(each) is alone, queue)
        max_bytes = _JOB_BYTES if self._as_job(queue[0]) else MAX_BYTES
        most = self._most if self._as_job(queue[0]) else min(self._most, MAX_ENTRIES)
        return take_bundle(alike, points=points, max_entries=most, max_bytes=max_bytes)

    def _posting(self, taken: list[Packed], grant: Grant | None) -> Callable[[], Entries]:
        """What sends a bundle, in whichever thread; without a grant it goes as a job."""
        body = bundle_json(each.json for each in taken)
        self.bundles_sent += 1
        self.bytes_sent += len(body)
        if grant is None:
            jobs = _jobs_of(self._fhir)
            self._fhir.pacer.note_spent(sum(each.points for each in taken))
            return partial(jobs.run_job, body, len(taken), keep_waiting=self._keep_waiting)
        grant.keep(sum(each.points for each in taken))

        def post() -> Entries:
            with grant:
                return self._fhir.post_bundle(body, len(taken))

        return post

    def _keep_waiting(self) -> bool:
        self._before_sending()
        return self._clock() <= self._ends_at

    def _read(
        self, lanes: Lanes, taken: list[Packed], told: Entries | MigrationError
    ) -> tuple[list[Delivered], list[Packed], list[float]]:
        """What a bundle's answer finishes, what must go again, and waits asked for."""
        match told:
            case Ambiguous():
                lanes.width.answered(0, trouble=True)
                if isinstance(told, JobFailed):
                    # It would fail again: what it left undone goes at once, as all that follows.
                    self._jobs = False
                    self._most = self._limit
                return [], self._after_ambiguity(taken), []
            case Throttled():
                return [], taken, [told.retry_after or 0.0]
            case Transient():  # nothing was sent, or all of it collided: the quota is not the cause
                if told.retry_after:
                    self._sleep(told.retry_after)
                return [], taken, []
            case Unacceptable():
                return *self._in_halves(taken), []
            case MigrationError():
                raise told
        self._most = min(self._limit, 2 * self._most)
        finished, lost_races, throttled, waits = self._sorted(taken, told)
        lanes.width.answered(len(finished), trouble=bool(lost_races))
        return finished, [*self._packer.repack(lost_races), *throttled], waits

    def _sorted(
        self, taken: list[Packed], entries: list[dict[str, Any]]
    ) -> tuple[list[Delivered], list[Packed], list[Packed], list[float]]:
        """Read each entry's own answer: finished, lost to others, or to wait for the quota."""
        bundle = str(self._new_uuid())
        finished: list[Delivered] = []
        lost_races: list[Packed] = []
        throttled: list[Packed] = []
        waits: list[float] = []
        read = [
            (packed, *read_entry(packed, entry, bundle, index))
            for index, (packed, entry) in enumerate(zip(taken, entries, strict=True))
        ]
        # One look for all of them: after a crash a whole bundle comes back with old versions.
        held = self._looker.held(
            member
            for packed, _answers, outcome in read
            if outcome.fate is Fate.EDITED
            for member in packed.submission.members
        )
        for packed, answers, outcome in read:
            if outcome.fate is Fate.DONE:
                finished.append(Delivered(packed.submission, Verdict.WRITTEN, tuple(answers)))
            elif outcome.fate is Fate.WAIT:
                throttled.append(packed)
                waits.append(outcome.wait or 0.0)
            elif outcome.fate is Fate.RETRY:
                lost_races.append(packed)
            else:
                end = self._end(packed, answers, outcome, held)
                if isinstance(end, Submission):
                    lost_races.append(replace(packed, submission=end))
                else:
                    finished.append(end)
        return self._looker.after_rollback(finished), lost_races, throttled, waits

    def _end(
        self,
        packed: Packed,
        answers: list[Answer],
        outcome: Outcome,
        held: Mapping[str, Resource],
    ) -> Delivered | Submission:
        """What a refusal is once Medplum was looked at: its end, or a submission to send again."""
        submission, end = packed.submission, ended(packed, answers, outcome)
        if outcome.fate is Fate.EDITED:
            return examine(submission, answers, held, authority=self._authority)
        if outcome.fate is Fate.GONE:
            return without_own_dead(submission) or end
        return self._looker.duplicates(end) if outcome.fate is Fate.DUPLICATE else end

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
            again = self._packer.repack(taken)
            now = [[m.fhir_id for m in each.submission.members] for each in again]
            if now == before:
                return again
            before = now
        return taken


def _awake(sleep: Callable[[float], None], alive: Callable[[], None], seconds: float) -> None:
    """Sleep, and say meanwhile that we are alive: an outage may outlast a lease."""
    while seconds > _SIGN_OF_LIFE:
        sleep(_SIGN_OF_LIFE)
        seconds -= _SIGN_OF_LIFE
        alive()
    sleep(seconds)


def _jobs_of(fhir: Fhir) -> RunsJobs:
    if isinstance(fhir, RunsJobs):
        return fhir
    raise Permanent("Batches cannot be handed in as jobs here. Deliver them at once: via batch.")
