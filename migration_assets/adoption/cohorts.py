"""Cohorts of a type: which rows are meant, and in which of them a row is (pure).

Belongs here: the terms of a cohort, what is known of a row, and what follows. Does not belong here:
finding that out of the account (``steps.cohorts``), or what a phase permits (``standing``).

What cannot be told is said, and never guessed: whoever delivers holds such a row back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Protocol, TypeVar

from migration_assets.errors import Permanent

UNKNOWN = "cohort-unknown"
"""Reason of a row that may be in a cohort: whose patient it is of is not on account."""
AMBIGUOUS = "cohort-ambiguous"
"""Reason of a row that is in several cohorts, which stand differently."""

_MOMENTS = ("since", "until")
_TEXTS = ("organization", "stream")
TERMS = frozenset({*_MOMENTS, *_TEXTS})
"""What narrows a cohort in adoption.toml."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What is known of one row; ``organizations`` are the source's keys.

    ``certain``: no further organization can turn up.
    """

    stream: str
    changed_at: datetime | None
    organizations: frozenset[str] = frozenset()
    certain: bool = True


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Which rows are meant, as ``reconciliation.cohort`` tells them; all that is given must hold.

    ``since`` and ``until`` bound the row's change time, half-open: a row without one is in none.
    """

    organization: str | None = None
    stream: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def take(self, traits: Traits) -> bool | None:
        """Whether a row is meant; None where that cannot be told."""
        if self.stream not in (None, traits.stream):
            return False
        if self.since is not None or self.until is not None:
            if traits.changed_at is None:
                return False
            if self.since is not None and traits.changed_at < self.since:
                return False
            if self.until is not None and traits.changed_at >= self.until:
                return False
        if self.organization is None or self.organization in traits.organizations:
            return True
        return False if traits.certain else None

    def as_json(self) -> dict[str, str]:
        """What narrows it, in the words of a comparison's scope."""
        every: dict[str, str | None] = {
            "stream": self.stream,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "organization": self.organization,
        }
        return {name: value for name, value in every.items() if value is not None}

    def __str__(self) -> str:
        """For people: ``organization O1, changed before 2020-01-01``."""
        parts = [f"organization {self.organization}"] if self.organization else []
        parts += [f"stream {self.stream}"] if self.stream else []
        parts += [f"changed from {self.since:%Y-%m-%d %H:%M}"] if self.since else []
        parts += [f"changed before {self.until:%Y-%m-%d %H:%M}"] if self.until else []
        return ", ".join(parts)

    def as_options(self) -> str:
        """The options of `migration reconcile` that mean the same rows."""
        moments = {name: value for name in _MOMENTS if (value := getattr(self, name)) is not None}
        texts = {name: value for name in _TEXTS if (value := getattr(self, name)) is not None}
        told = texts | {name: f"{each:%Y-%m-%dT%H:%M:%S}" for name, each in moments.items()}
        return " ".join(f"--{name} {value}" for name, value in told.items())


class Declared(Protocol):
    """A cohort as it is declared; ``stands`` is what two of them may differ in."""

    @property
    def terms(self) -> Terms:
        """Which rows are meant."""

    @property
    def stands(self) -> Any:
        """What holds for its rows."""


C = TypeVar("C", bound=Declared)


def told(cohorts: Iterable[C], traits: Traits) -> tuple[C | None, str]:
    """The cohort that a row is in, or none; or why that cannot be told.

    Of several that stand alike the first counts.
    """
    verdicts = [(each, each.terms.take(traits)) for each in cohorts]
    taken = [each for each, verdict in verdicts if verdict]
    if any(verdict is None for _each, verdict in verdicts):
        return None, UNKNOWN
    if len({each.stands for each in taken}) > 1:
        return None, AMBIGUOUS
    return (taken[0] if taken else None), ""


def read_terms(entry: Mapping[str, Any], where: str) -> Terms:
    """Terms as adoption.toml declares them.

    Raises:
        Permanent: nothing narrows it, or something is not what it should be; says where.
    """
    given: dict[str, Any] = {name: value for name, value in entry.items() if name in TERMS}
    for name in _TEXTS:
        if name in given and not (isinstance(given[name], str) and given[name].strip()):
            raise Permanent(f"{where}: {name} must be a text.")
    for name in _MOMENTS:
        if name in given:
            given[name] = _moment(given[name], f"{where}: {name}")
    if not given:
        raise Permanent(f"{where} must be narrowed by one of {', '.join(sorted(TERMS))}.")
    found = Terms(**given)
    if found.since is not None and found.until is not None and found.since >= found.until:
        raise Permanent(f"{where}: since must be before until.")
    return found


def _moment(value: Any, where: str) -> datetime:
    """A TOML date or time; what has no zone is UTC, as in commands."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=UTC)
    raise Permanent(f"{where} must be a date or a time, without quotation marks.")
