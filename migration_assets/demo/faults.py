"""What the sandbox can be asked to get wrong, and the mixture that a migration must survive.

Belongs here: the names and the shape of a plan. Does not belong here: what a fault does, which is
the sandbox's (``demo/sandbox/misbehaviour.mjs``), and asking for it (``medplum_sandbox``).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal


class Wrong(StrEnum):
    """The faults of Medplum, its proxies and the line (contract §3, §4, §7, §8).

    Of one write, which is an entry of a bundle (a nested transaction is one) or a request that is
    no bundle: from CONFLICT to WRITE_TIMED_OUT. Of a whole request: the others.
    """

    CONFLICT = "conflict"  # 409 with 40001
    LOST_RACE = "lost-race"  # somebody else creates it; 400 Resource ID did not match resolved ID
    ASSIGNED_ID_TAKEN = "assigned-id-taken"  # 400 Assigned ID is already in use, of a transaction
    THROTTLED = "throttled"  # 429 from this entry on, inside HTTP 200
    OVERTAKEN = "overtaken"  # somebody else writes the same first: 412 on If-Match
    EDITED = "edited"  # somebody else writes something else first: 412 on If-Match
    WRITE_FAILED = "write-failed"  # 500
    WRITE_TIMED_OUT = "write-timed-out"  # 504
    TOO_MANY_REQUESTS = "too-many-requests"  # 429 for the whole request
    STATUS_500 = "status-500"
    STATUS_502 = "status-502"  # with a proxy's page of HTML, like 503
    STATUS_503 = "status-503"
    STATUS_504 = "status-504"
    EXPIRE = "expire"  # 401; the token is dead. Only one that has been accepted before
    RESET = "reset"  # connection reset, nothing done
    DROP = "drop"  # done, connection closed without an answer
    TRUNCATE = "truncate"  # done, connection closed in the middle of the answer
    FEWER_ENTRIES = "fewer-entries"  # done, and the last entry of the answer left out
    LATE = "late"  # done after the client has hung up


@dataclass(frozen=True)
class Fault:
    """A fault and its occurrences: those listed in ``at`` (the first is 1), else by ``rate``.

    An occurrence is a request or a write that could have the fault; ``on`` counts only those of
    bundles, of searches, or of neither (``others``). ``after_work`` lets a STATUS lie: everything
    was done. ``wait_seconds`` is what a 429 names, or how long LATE waits for the client at most.
    """

    wrong: Wrong
    rate: float = 1.0
    at: tuple[int, ...] | None = None
    on: Literal["any", "bundles", "searches", "others"] = "any"
    after_work: bool = False
    wait_seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """As the sandbox reads it, in a plan or in the header ``X-Sandbox-Fault``."""
        plan: dict[str, Any] = {"fault": self.wrong, "rate": self.rate, "on": self.on}
        if self.at is not None:
            plan["at"] = self.at
        if self.after_work:
            plan["after_work"] = True
        if self.wait_seconds is not None:
            plan["wait_ms"] = round(self.wait_seconds * 1000)
        return plan


_OF_WRITES = (
    Wrong.CONFLICT,
    Wrong.LOST_RACE,
    Wrong.ASSIGNED_ID_TAKEN,
    Wrong.OVERTAKEN,
    Wrong.WRITE_FAILED,
    Wrong.WRITE_TIMED_OUT,
)
_OF_REQUESTS = (
    Wrong.TOO_MANY_REQUESTS,
    Wrong.STATUS_500,
    Wrong.STATUS_502,
    Wrong.STATUS_503,
    Wrong.STATUS_504,
    Wrong.EXPIRE,
    Wrong.RESET,
    Wrong.DROP,
    Wrong.TRUNCATE,
    Wrong.FEWER_ENTRIES,
)


def mixture(*, of_writes: float, of_requests: float) -> tuple[Fault, ...]:
    """Every fault that leaves nothing for a person to decide, each at one of two rates.

    Without LATE, which costs the client's whole time-out, and EDITED, which must be held.
    THROTTLED ends a bundle, so it comes as rarely as a fault of a request.
    """
    return (
        *(Fault(each, of_writes) for each in _OF_WRITES),
        Fault(Wrong.THROTTLED, of_writes / 10),
        *(Fault(each, of_requests) for each in _OF_REQUESTS),
        Fault(Wrong.STATUS_504, of_requests, on="bundles", after_work=True),
    )
