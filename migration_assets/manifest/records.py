"""The frozen values that go into the account and come out of it.

Belongs here: states, units, settlements, attempts, targets. Does not belong here: SQL, or what a
reason code means (the room that decides it documents it).
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

V = TypeVar("V")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
SKEW_MICROS = 15 * 60 * 1_000_000
"""A source's clock may run that far ahead of ours."""


class State(enum.StrEnum):
    """Where a unit stands: pending, or exactly one disposition (design §1)."""

    PENDING = "pending"
    MIGRATED = "migrated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


class LandingRow(Protocol):
    """What landing needs of a pulled row; ``legacy.PulledRow`` has this shape."""

    @property
    def key(self) -> str | None:
        """The source key, or None when the row has no usable one."""

    @property
    def row(self) -> Any:
        """The row as it came."""

    @property
    def changed_at(self) -> datetime | None:
        """When it last changed, by the source's cursor field."""

    @property
    def deleted(self) -> bool:
        """Whether this is a tombstone."""

    @property
    def problem(self) -> str | None:
        """Reason code for quarantine, when the puller already found one."""

    @property
    def archived(self) -> bool:
        """Whether the source put it away without deleting it."""

    @property
    def merged_into(self) -> str | None:
        """The key of the row that stands for this one now."""

    @property
    def volatile(self) -> tuple[str, ...]:
        """Dotted paths of fields that say nothing about whether the row changed."""


@dataclass(frozen=True, kw_only=True)
class Alongside:
    """What is committed in one transaction with a page of rows.

    ``mark`` moves the high-water mark, never backwards nor past our own clock: from a source whose
    clock stands in the future, everything until then would go unread. ``seed`` sets it if there is
    none yet. ``window`` is a partition pulled to its end, and the rows it held. ``parents`` were
    read from the beginning. ``sweep`` is the sweep that saw the rows. ``slack`` is by how much the
    source's change times may be misread: zone-less ones of the hour that clocks repeat. ``events``
    came one after another: of two rows with one change time the later is the newer.
    """

    mark: datetime | None = None
    seed: datetime | None = None
    window: tuple[str, int] | None = None
    parents: tuple[str, ...] = ()
    sweep: int | None = None
    slack: timedelta = timedelta(0)
    events: bool = False


@dataclass(frozen=True)
class Absent:
    """A live unit that a sweep did not see, as it stood when the sweep looked."""

    id: int
    key: str
    revision: int
    seen_run: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class SweepEnd:
    """How a sweep ended; ``verdict`` is ``believed`` or ``refused``.

    ``gone`` are proved absences, ``missed`` those that need another sweep to be believed.
    """

    verdict: str
    rows: int
    absent: int
    gone: tuple[Absent, ...] = ()
    missed: tuple[Absent, ...] = ()


@dataclass(frozen=True)
class Swept:
    """The last sweep of a stream that came to its end."""

    stream: str
    verdict: str
    finished_at: datetime
    rows: int
    held: int
    absent: int
    gone: int


@dataclass(frozen=True)
class Landed:
    """What landing one page, or several, did; counts of rows."""

    rows: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    stale: int = 0
    quarantined: int = 0

    def __add__(self, other: "Landed") -> "Landed":
        return Landed(
            self.rows + other.rows,
            self.new + other.new,
            self.changed + other.changed,
            self.same + other.same,
            self.stale + other.stale,
            self.quarantined + other.quarantined,
        )


@dataclass(frozen=True)
class Target:
    """One resource a unit owns in Medplum; ``fhir_id`` is None while it is only intended.

    ``sent`` are prints of what was sent since Medplum last confirmed it: after a crash they tell
    our own writes from somebody else's. ``overwrites`` is the version of an edit made in Medplum
    that a person lets us write over. ``references`` are those it was delivered with, element path
    and token of what it leads to; None where that is not known. ``as_of`` is when what it was
    confirmed with had changed (``Unit.as_of``).
    """

    resource_type: str
    token: str
    fhir_id: str | None = None
    version_id: str | None = None
    fingerprint: str | None = None
    deleted: bool = False
    sent: frozenset[str] = frozenset()
    overwrites: str | None = None
    references: tuple[tuple[str, str], ...] | None = None
    as_of: int | None = None


@dataclass(frozen=True)
class Unit:
    """One source key we owe an answer for, with its row and what Medplum holds of it.

    ``as_of`` is the moment that its content stands for, in microseconds: see ``as_of``.
    """

    id: int
    stream: str
    key: str
    revision: int
    row: Any
    deleted: bool
    targets: tuple[Target, ...] = ()
    archived: bool = False
    merged_into: str | None = None
    as_of: int | None = None


@dataclass(frozen=True)
class Attempt:
    """One try at one resource, as the entry's answer told it."""

    token: str
    method: str
    bundle: str
    entry: int
    status: str
    event: str
    outcome: str | None = None
    fhir_id: str | None = None
    version_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """A unit's final state, with the attempts that led to it and the targets it now has.

    It counts only if the unit still has ``revision``: a row that landed meanwhile stays pending.
    ``borrowed``: what it was linked to that nobody on account owns, as (token, Medplum id).
    """

    unit_id: int
    revision: int
    state: State
    reason: str | None = None
    field: str | None = None
    awaiting: str | None = None
    mapping_version: str | None = None
    attempts: tuple[Attempt, ...] = ()
    targets: tuple[Target, ...] = ()
    borrowed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Balance:
    """Units of one stream by state; ``eligible`` is their sum, counted apart."""

    eligible: int
    by_state: dict[State, int]

    @property
    def holds(self) -> bool:
        """The law of design §1: every eligible unit is in exactly one state."""
        return self.eligible == sum(self.by_state.values())


@dataclass(frozen=True)
class Exceptions:
    """How many units of a stream stand in a state for one reason at one field."""

    stream: str
    state: State
    reason: str
    field: str
    count: int
    example_keys: tuple[str, ...]


def as_of(row: Any, *, deleted: bool, swept: int | None) -> int:
    """When the content of a unit had changed, as far as anybody can say, in microseconds.

    Its change time, or else when it landed; a row dated in the future is as of when it landed. Of
    one that a sweep did not find, when that sweep (``swept``) began.
    """
    if deleted and row.missed and swept is not None:
        return swept
    if row.changed_at is None:
        return int(row.landed_at)
    return int(min(row.changed_at, row.landed_at + SKEW_MICROS))


def token(resource_type: str, system: str, value: str) -> str:
    """The one text by which a target is found: type, identifier system and value."""
    return f"{resource_type}|{system}|{value}"


def to_micros(moment: datetime) -> int:
    """An aware instant as UTC microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The instant ``to_micros`` made."""
    return _EPOCH + timedelta(microseconds=micros)


def chunked(values: Iterable[V], size: int = 500) -> list[list[V]]:
    """Lists of at most ``size``: SQLite takes at most 32,766 parameters in a statement."""
    listed = list(values)
    return [listed[start : start + size] for start in range(0, len(listed), size)]
