"""Transforming: a Bot says what rows become, before they are prepared.

Belongs here: which rows a Bot is asked of, how many at a time, and that it is asked once: what it
said is remembered by row and by version of the Bot. Does not belong here: what an answer means
(``bot_answers``), or the request (``medplum.bots``).

A mapping without a transformer goes through here untouched. One with a Bot is bound to the version
that the project holds: that is part of the mapping's version, so that another deployment is another
version, and ``remap`` finds what the one before settled. Answers are kept once the Bot is known to
be the same as before they were asked for: a crash asks again for one chunk at most.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from migration_assets.errors import MigrationError, Permanent, Quarantine, Transient
from migration_assets.manifest import Manifest, Unit
from migration_assets.manifest.bot_answers import row_print
from migration_assets.manifest.payload import PURGED
from migration_assets.mapping import (
    Bot,
    Mapping,
    Quarantined,
    Related,
    Resource,
    Skip,
    Unanswered,
)
from migration_assets.medplum import Fhir, FoundBot, RunsBots, Throttled, find_bot
from migration_assets.steps.bot_answers import understood

_PATIENCE = 5
"""Rows one after another that nothing was heard of: then Medplum is away, not a row to blame."""
_TRIES = 2  # a try that nothing is heard of takes two minutes
_PAUSE_SECONDS = 0.5
_ALIVE_SECONDS = 60.0

M = TypeVar("M", bound=Mapping[Any])


@dataclass(frozen=True)
class Asked:
    """Units whose rows were answered, or need no answer; those that were not, and why no more."""

    units: list[Unit]
    unanswered: list[Unit] = field(default_factory=list)
    gave_up: MigrationError | None = None

    def refuse_silence(self) -> None:
        """Raise where nothing is heard of the Bot, or nothing here may ask it.

        The units stay pending. Of single rows that nothing was heard of the others need not wait.
        """
        if isinstance(self.gave_up, Transient):
            raise Transient(
                f"{len(self.unanswered)} units stay pending, for their Bot could not be asked: "
                f"{self.gave_up} Nothing is lost; run again."
            ) from None
        if self.gave_up is not None:
            raise self.gave_up


def bound(mapping: M, manifest: Manifest, fhir: Fhir | None) -> M:
    """The mapping with what its Bot says; the mapping itself where no Bot has a say.

    Without ``fhir`` nothing is asked, and what any version of the Bot said before counts.

    Raises:
        Permanent: the project has no such Bot, or it cannot run.
        Transient: Medplum does not answer.
    """
    bot = mapping.transformer
    if bot is None or (isinstance(mapping.answers, BotSays) and fhir is None):
        return mapping
    plain = mapping.version.partition("+bot.")[0]
    if fhir is None:
        return replace(mapping, answers=BotSays(mapping, manifest))
    if not isinstance(fhir, RunsBots):
        raise Permanent(f"{mapping.resource_type} is made by a Bot, which nothing here executes.")
    found = find_bot(fhir, bot)
    if found.hindrance:
        raise Permanent(
            f"{mapping.resource_type} is made by the Bot {bot.name}, and {found.hindrance}. Deploy "
            "it: docs/bots.md."
        )
    return replace(
        mapping,
        version=f"{plain}+bot.{found.version_id}",
        answers=BotSays(mapping, manifest, fhir, found),
    )


def ask(
    mapping: Mapping[Any], units: Sequence[Unit], alive: Callable[[], None] | None = None
) -> Asked:
    """Have a bound mapping's Bot asked of units' rows; ``alive`` is called as it goes on.

    Raises:
        Permanent: the Bot cannot run.
        Transient: another version of the Bot was deployed meanwhile.
    """
    if mapping.transformer is None:
        return Asked(list(units))
    due = [(each.id, each.row) for each in units if each.row is not PURGED]
    says = mapping.answers
    silent = frozenset(number for number, _ in due)
    gave_up: MigrationError | None = Permanent(_unheard(mapping))
    if isinstance(says, BotSays):
        silent, gave_up = says.ask(due, alive)
    unanswered = [each for each in units if each.id in silent]
    return Asked(
        [each for each in units if each.id not in silent],
        unanswered,
        gave_up if unanswered else None,
    )


def recalled(mapping: M, manifest: Manifest, units: Sequence[Unit]) -> M:
    """The mapping with what its Bot said of these units before, for whoever only looks back."""
    found = bound(mapping, manifest, None)
    ask(found, units)
    return found


def version_now(mapping: Mapping[Any], manifest: Manifest, fhir: Fhir | None) -> str:
    """The mapping's version, with that of its Bot.

    Raises:
        Permanent: nothing here may ask for it; or as ``bound``.
    """
    if mapping.transformer is not None and fhir is None:
        raise Permanent(_unheard(mapping))
    return bound(mapping, manifest, fhir).version


def ask_rows(mapping: Mapping[Any], rows: Iterable[Any]) -> None:
    """Have the Bot asked of rows that somebody only looks at; raises as ``ask``."""
    if isinstance(mapping.answers, BotSays):
        due = [(-number, row) for number, row in enumerate(rows, 1)]
        mapping.answers.ask(due)


class BotSays:
    """What a Bot said of the rows asked for last."""

    def __init__(
        self,
        mapping: Mapping[Any],
        manifest: Manifest,
        fhir: RunsBots | None = None,
        found: FoundBot | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mapping = mapping
        self._bot = mapping.transformer or Bot()
        self._manifest = manifest
        self._fhir = fhir
        self._found = found
        self._sleep = sleep
        self._monotonic = monotonic
        self._said: dict[str, Any] = {}
        self._threads: ThreadPoolExecutor | None = None

    def answer(self, row: Any) -> Resource | Related | Skip:
        """What the row became by the Bot's answer.

        Raises:
            Quarantined: the Bot failed on it, or answered something that no mapping can use.
            Unanswered: it was not asked of this row.
        """
        try:
            said = self._said[row_print(row)]
        except KeyError:
            raise Unanswered(_unheard(self._mapping)) from None
        if isinstance(said, Quarantine):
            raise Quarantined(said.reason, said.field)
        return understood(said, self._mapping.types)

    def ask(
        self, rows: Sequence[tuple[int, Any]], alive: Callable[[], None] | None = None
    ) -> tuple[frozenset[int], MigrationError | None]:
        """Ask of rows by number; which stay unanswered, and why no more was asked, if so.

        Numbers above 0 are units', of which the answer is remembered.
        """
        prints = {number: row_print(row) for number, row in rows}
        if self._said.keys() >= set(prints.values()):
            return frozenset(), None  # some of those that were asked for last, once more
        version = self._found.version_id if self._found is not None else None
        units = [(number, row) for number, row in rows if number > 0]
        known = self._manifest.bot_answers.remembered(units, version)
        self._said = {prints[number]: answer for number, answer in known.items()}
        due = [(number, row) for number, row in rows if number not in known and self._is_fit(row)]
        if not due or self._fhir is None or self._found is None:
            return frozenset(number for number, _ in due), Permanent(_unheard(self._mapping))
        asking = _Asking(self._execute, alive, self._monotonic)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max(1, self._bot.at_once), "bot")
        said, gave_up = asking.ask(self._threads, max(1, self._bot.at_once), due)
        self._refuse_another_version()
        self._remember(dict(units), said)
        self._said.update((prints[number], answer) for number, answer in said.items())
        return frozenset(number for number, _ in due if number not in said), gave_up

    def _is_fit(self, row: Any) -> bool:
        """Whether the row's model takes it: else it is quarantined without asking anybody."""
        try:
            self._mapping.row.model_validate(row)
        except (ValidationError, ValueError):
            return False
        return isinstance(row, dict)

    def _remember(self, rows: dict[int, Any], said: dict[int, Any]) -> None:
        """Keep what the Bot said on purpose; a failure may not come again."""
        kept = {}
        for number in rows.keys() & said.keys():
            answer = said[number]
            try:
                understood(answer, self._mapping.types)
            except Quarantined as error:
                if isinstance(answer, Quarantine) or error.reason.startswith("bot-answer-"):
                    continue
            kept[number] = (rows[number], answer)
        self._manifest.bot_answers.remember(self._found.version_id if self._found else "", kept)

    def _refuse_another_version(self) -> None:
        if self._fhir is None or self._found is None:
            return
        if find_bot(self._fhir, self._bot).version_id != self._found.version_id:
            raise Transient(
                f"The Bot {self._bot.name} was deployed anew while it was asked: nobody knows "
                "which version said what. What it said was dropped; run again."
            )

    def _execute(self, row: Any) -> Any:
        """The Bot's answer, or the Quarantine it came to. Raises Transient or Permanent."""
        if self._fhir is None or self._found is None:
            raise Unanswered(_unheard(self._mapping))
        try:
            body = orjson.dumps(row)
        except TypeError:  # broken UTF-8, or a number that JSON readers would round
            return Quarantine("row-not-json")
        for last in (*(False,) * (_TRIES - 1), True):
            try:
                return self._fhir.execute_bot(self._found.id, body)
            except Quarantine as error:
                return error
            except Transient as error:
                if last:
                    raise
                self._sleep(error.retry_after or _PAUSE_SECONDS)
        raise AssertionError  # the last try returns or raises


class _Asking:
    """One chunk: so many executions under way, until all is said or nothing is heard any more."""

    def __init__(
        self,
        execute: Callable[[Any], Any],
        alive: Callable[[], None] | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._execute = execute
        self._alive = alive
        self._monotonic = monotonic
        self._silent = 0

    def ask(
        self, threads: ThreadPoolExecutor, at_once: int, due: Sequence[tuple[int, Any]]
    ) -> tuple[dict[int, Any], Transient | None]:
        """What was said, by number; and why no more was asked, if that is so."""
        said: dict[int, Any] = {}
        left = iter(due)
        under_way: dict[Future[Any], int] = {}
        gave_up: Transient | None = None
        told = self._monotonic()
        try:
            while True:
                while gave_up is None and len(under_way) < at_once:
                    number, row = next(left, (None, None))
                    if number is None:
                        break
                    under_way[threads.submit(self._execute, row)] = number
                if not under_way:
                    return said, gave_up
                finished, _ = wait(under_way, _ALIVE_SECONDS, FIRST_COMPLETED)
                for each in finished:
                    gave_up = self._heard(each, under_way.pop(each), said) or gave_up
                if self._alive is not None and self._monotonic() - told > _ALIVE_SECONDS:
                    told = self._monotonic()
                    self._alive()
        finally:
            for each in under_way:
                each.cancel()

    def _heard(self, answer: Future[Any], number: int, said: dict[int, Any]) -> Transient | None:
        try:
            said[number] = answer.result()
        except Transient as error:
            self._silent += 1
            return error if self._silent >= _PATIENCE or isinstance(error, Throttled) else None
        self._silent = 0
        return None


def _unheard(mapping: Mapping[Any]) -> str:
    name = mapping.transformer.name if mapping.transformer is not None else "a Bot"
    return (
        f"What {mapping.stream} rows become is said by the Bot {name}, which is executed in "
        "Medplum and was not asked here. Set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and "
        "MEDPLUM_CLIENT_SECRET, and leave dry_run out."
    )
