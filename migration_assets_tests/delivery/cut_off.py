"""Ends a run at any call into the account or Medplum, before or after the call took effect."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from migration_assets.medplum import Ambiguous

LOST_ANSWER = "lost answer"


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Doom:
    """Cuts a run off at the nth call of a method, before or after the call took effect.

    The nth bundle may also be carried out and its answer get lost, which a run survives.
    """

    method: str = ""
    at: int = 0
    after: bool = False
    calls: Counter[str] = field(default_factory=Counter)

    def around(self, method: str, call: Callable[[], Any]) -> Any:
        """Make the call, unless this is the one."""
        self.calls[method] += 1
        due = method == self.method and self.calls[method] == self.at
        if due and not self.after:
            raise Crash
        made = call()
        if due:
            raise Crash
        return made


class Mortal:
    """Stands before the account or Medplum's client, and may not return from a call."""

    def __init__(self, behind: Any, doom: Doom) -> None:
        self._behind = behind
        self._doom = doom

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._behind, name)
        if not callable(found) or name == "lease":  # a lease is its holder's until it goes stale
            return found

        @wraps(found)
        def call(*arguments: Any, **named: Any) -> Any:
            if name == "settle" and not arguments[0]:
                return found(*arguments, **named)  # there was nothing to settle
            return self._doom.around(name, lambda: found(*arguments, **named))

        return call


class MortalFhir(Mortal):
    """As Mortal, and a bundle's or a job's answer may get lost."""

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """Carry the bundle out; then answer, or not."""
        return self._answer("post_bundle", lambda: self._behind.post_bundle(body, entries))

    def run_job(
        self, body: bytes, entries: int, *, keep_waiting: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        """Carry the job out; then answer, or not."""
        return self._answer(
            "run_job", lambda: self._behind.run_job(body, entries, keep_waiting=keep_waiting)
        )

    def _answer(
        self, method: str, call: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self._doom.around(method, call)
        try:
            self._doom.around(LOST_ANSWER, lambda: None)
        except Crash:
            raise Ambiguous("the connection was reset") from None
        return answer


class Meanwhile(MortalFhir):
    """Medplum's client, while something else happens during the first bundle or job."""

    def __init__(self, behind: Any, act: Callable[[], None]) -> None:
        super().__init__(behind, Doom())
        self._acts = [act]

    def _answer(
        self, method: str, call: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        while self._acts:
            self._acts.pop()()
        return super()._answer(method, call)
