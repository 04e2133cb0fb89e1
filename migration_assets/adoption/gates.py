"""Exit gates: what must be proved before a type leaves a phase (design §6; pure).

Belongs here: verdicts over evidence, in counts, with what mends each. Does not belong here: reading
the evidence (``switching.evidence``). What was not looked at proves nothing: such a gate is shut.
"""

from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from migration_assets.adoption.standing import Phase
from migration_assets.counting import several

_MEND_EXCEPTIONS = (
    "`migration exceptions --type {kind} --open`; mend them, or `migration assign --type {kind} "
    "--reason … --decision accept`"
)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What is still good enough: ``share`` of what was compared, ``days`` in a row."""

    share: float = 0.01
    days: int = 7
    lag_seconds: int = 3600
    windows: Callable[[datetime], Iterable[str]] | None = None
    """The windows that there are by a moment; None: nobody says."""


@dataclass(frozen=True, kw_only=True)
class Later:
    """A second look, by identifier, at what was written after a comparison began.

    ``unproved``: writes that Medplum never confirmed, or that moved on while they were looked at.
    """

    written: int
    id: int
    findings: int = 0
    unresolved: int = 0
    unproved: int = 0


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What the last whole comparison of one type with Medplum found; ``id`` 0: there was none.

    ``unresolved`` are findings of the last look at references, None where there was none.
    ``options`` narrow `migration reconcile` to the part of the type that is meant.
    ``later`` is what a second look found of all that was written since it began; None: nobody
    looked. ``worst_findings`` of ``worst_of`` resources were the most in a comparison of late.
    """

    resource_type: str
    id: int = 0
    started_at: datetime | None = None
    findings: int = 0
    unresolved: int | None = None
    worst_findings: int = 0
    worst_of: int = 0
    unsettled: int = 0
    later: "Later | None" = None
    options: str = ""


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """What services wrote beside what the puller would have: rows that changed since a moment.

    ``missed``: nothing was there; ``different``: something else was. ``left_out`` rows have no
    outcome that could be compared (skipped, quarantined for themselves); ``unknown`` are pending
    and Medplum could not be asked.
    """

    since: datetime
    agreed: int = 0
    missed: int = 0
    different: int = 0
    left_out: int = 0
    unknown: int = 0

    @property
    def compared(self) -> int:
        """Rows of which something can be said."""
        return self.agreed + self.missed + self.different

    @property
    def share(self) -> float:
        """The part of them that the services did not write, or wrote otherwise."""
        return (self.missed + self.different) / max(1, self.compared)


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How far the account is behind its source, in seconds; the worst of the last days, too."""

    seconds: int
    worst_seconds: int
    watched_since: datetime
    allowed_seconds: int | None = None
    """What the stream's description says of it; None: as for every stream."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the types that move together; None where it was not looked at."""

    now: datetime
    since: datetime | None
    """When the present phase was entered; None: by hand, or never."""
    eligible: int = 0
    pending: int = 0
    balance_holds: bool = True
    unexplained: int = 0
    untold: int = 0
    """Rows of which nobody knows in which of the type's cohorts they are."""
    unread: int | None = None
    """Windows of the source that were never read to their end."""
    mark: datetime | None = None
    last_write: datetime | None = None
    comparisons: tuple[Compared, ...] = ()
    discrepancy: Discrepancy | None = None
    lag: Lag | None = None
    legacy_edits: int | None = None

    def as_json(self) -> MappingOf[str, Any]:
        """What is kept of it beside the change that it permitted: counts, times and numbers."""
        return {name: _plain(each) for name, each in vars(self).items() if each is not None}


@dataclass(frozen=True)
class Point:
    """One thing that a gate asks for; ``mend`` is what helps where it does not hold."""

    holds: bool
    said: str
    mend: str = ""


def gate(phase: Phase, kind: str, evidence: Evidence, bounds: Bounds) -> tuple[Point, ...]:
    """What leaving ``phase`` asks for, point by point; open if all of them hold.

    ``kind`` is the type that commands are told. There is no way out of ``retired``.
    """
    asked = _ASKED.get(phase)
    points = asked(kind, evidence, bounds) if asked else ()
    return (*points, *_told(kind, evidence)) if asked else ()


def _told(kind: str, evidence: Evidence) -> tuple[Point, ...]:
    """Who may be in the part that is moved; nothing is asked where nobody is unknown."""
    if not evidence.untold:
        return ()
    said = f"{several(evidence.untold, 'row')} may be in any cohort: it is not on account whose"
    mend = f"materialize medplum/{kind}, then `migration exceptions --type {kind}`"
    return (_unproved(said, mend),)


def _rehearsed(kind: str, evidence: Evidence, _bounds: Bounds) -> tuple[Point, ...]:
    rows = Point(
        evidence.eligible > 0,
        f"on account: {several(evidence.eligible, 'row')}",
        f"materialize medplum/{kind}: nothing was rehearsed yet",
    )
    unexplained = Point(
        evidence.unexplained == 0,
        f"{several(evidence.unexplained, 'quarantined or rejected row')} that nobody accepted",
        _MEND_EXCEPTIONS.format(kind=kind),
    )
    return rows, unexplained


def _dual_written(kind: str, evidence: Evidence, bounds: Bounds) -> tuple[Point, ...]:
    found = evidence.discrepancy
    if found is None:
        return (_unproved("what services wrote was not compared", "set the Medplum client"),)
    said = (
        f"of {found.compared:,} rows changed since {_day(found.since)} services missed "
        f"{found.missed:,} and wrote {found.different:,} otherwise ({found.share:.1%}, "
        f"{bounds.share:.1%} may)"
    )
    mend = f"mend the services' writing, and wait; `migration audit {kind}` says of which rows"
    points = [Point(found.compared > 0 and found.share <= bounds.share, said, mend)]
    if found.unknown:
        points.append(
            _unproved(
                f"{found.unknown:,} rows were not compared yet: pending, or not read by the puller "
                "since a service sent them",
                f"set the Medplum client, or materialize medplum/{kind}; `migration audit {kind}`",
            )
        )
    return tuple(points)


def _backfilled(kind: str, evidence: Evidence, bounds: Bounds) -> tuple[Point, ...]:
    balance = Point(
        evidence.balance_holds and evidence.eligible > 0 and evidence.pending == 0,
        f"{several(evidence.eligible, 'row')}, {evidence.pending:,} pending, balance "
        + ("holds" if evidence.balance_holds else "IS BROKEN"),
        f"materialize medplum/{kind} until nothing is pending; `migration status`",
    )
    # The balance holds of a type of which nine rows in ten are quarantined, too.
    exceptions = Point(
        evidence.unexplained <= bounds.share * evidence.eligible,
        f"{several(evidence.unexplained, 'quarantined or rejected row')} that nobody accepted "
        f"({bounds.share:.1%} of all may be)",
        _MEND_EXCEPTIONS.format(kind=kind),
    )
    compared = (_clean(each, evidence, bounds) for each in evidence.comparisons)
    if evidence.unread is None:
        return balance, exceptions, *compared
    # A balance holds of what is on account: what was never read is not missing there.
    read = Point(
        evidence.unread == 0,
        "the source was read to its end"
        if evidence.unread == 0
        else "1 window of the source was never read to its end"
        if evidence.unread == 1
        else f"{evidence.unread:,} windows of the source were never read to their end",
        f"materialize what is missing of medplum/{kind}, or read all of it: `migration sweep "
        f"{kind}`",
    )
    return balance, exceptions, read, *compared


def _clean(each: Compared, evidence: Evidence, bounds: Bounds) -> Point:
    """Whether everything that was ever written is proved to be in Medplum as delivered.

    A clinic that is open writes all day, so a comparison is never newer than the last write. It
    proves all that was written before it began, for as long as nobody else may delete or double
    that (``days``). What was written since is proved by a second look at just that, by search as
    the first one: an answer of Medplum's alone is no proof (contract §3, ghosts). What was never
    confirmed, or moved on meanwhile, is unproved, and shuts the gate.
    """
    mend = f"`migration reconcile {each.resource_type} {each.options}".rstrip() + " --references`"
    if not each.id or each.started_at is None:
        return _unproved(f"{each.resource_type} was never compared as a whole", mend)
    said = f"comparison {each.id} of {each.resource_type}: {several(each.findings, 'finding')}"
    if each.unresolved is not None:
        said += f", {each.unresolved:,} about references"
    clean = not each.findings and not each.unresolved
    last = evidence.last_write
    if (last is None or last < each.started_at) and not each.unsettled:
        return Point(clean, said, mend)
    if evidence.now - each.started_at > timedelta(days=max(1, bounds.days)):
        return _unproved(f"{said}, more than {max(1, bounds.days)} days old", mend)
    if each.later is None:
        when = f"the last write ({_minute(last)})" if last is not None else "what was unsettled"
        return _unproved(f"{said}, older than {when}", mend)
    later = each.later
    said += (
        f"; of {later.written:,} written since, looked for again: "
        f"{several(later.findings, 'finding')}, {later.unresolved:,} about references, "
        f"{later.unproved:,} unproved"
    )
    return Point(clean and not (later.findings or later.unresolved or later.unproved), said, mend)


def _followed(kind: str, evidence: Evidence, bounds: Bounds) -> tuple[Point, ...]:
    points = [_stayed(kind, evidence, bounds)]
    lag, begin = evidence.lag, evidence.now - timedelta(days=bounds.days)
    if lag is None:
        said = "the source was never asked for all its news"
        points.append(_unproved(said, "turn on the sensor legacy_changes"))
    else:
        allowed = lag.allowed_seconds or bounds.lag_seconds
        points.append(
            Point(
                max(lag.seconds, lag.worst_seconds) <= allowed and lag.watched_since <= begin,
                f"lag is {lag.seconds:,} s, {lag.worst_seconds:,} s at worst in {bounds.days} days "
                f"({allowed:,} s may be), watched since {_minute(lag.watched_since)}",
                "keep the sensor legacy_changes on; the bound is MIGRATION_FRESH_SECONDS, or the "
                "stream's fresh_seconds",
            )
        )
    points += [_drift(each, bounds, begin) for each in evidence.comparisons]
    return tuple(points)


def _drift(each: Compared, bounds: Bounds, begin: datetime) -> Point:
    command = f"migration reconcile {each.resource_type} {each.options}".rstrip()
    mend = f"`{command}` says what differs, and repairs"
    if each.started_at is None or (bounds.days and each.started_at < begin):
        return _unproved(f"{each.resource_type} was not compared in {bounds.days} days", mend)
    return Point(
        each.worst_findings <= bounds.share * each.worst_of,
        f"{each.resource_type} drifted by {each.worst_findings:,} of {each.worst_of:,} at worst in "
        f"{bounds.days} days ({bounds.share:.1%} may)",
        mend,
    )


def _flipped(kind: str, evidence: Evidence, bounds: Bounds) -> tuple[Point, ...]:
    edits = evidence.legacy_edits
    if edits is None:
        quiet = _unproved("the legacy API was not asked for edits", "set MIGRATION_SOURCE")
    else:
        quiet = Point(
            edits == 0,
            f"{several(edits, 'row')} edited in the legacy system in {bounds.days} days",
            "find who still writes there, take the edits over by hand, and wait",
        )
    return _stayed(kind, evidence, bounds), quiet


def _stayed(kind: str, evidence: Evidence, bounds: Bounds) -> Point:
    if evidence.since is None:
        said = "since when it is in this phase is not on account: it was set by hand"
        return Point(bounds.days == 0, said, f"next time use `migration phase {kind}`; force this")
    days = (evidence.now - evidence.since) / timedelta(days=1)
    return Point(
        days >= bounds.days, f"{days:.1f} days in this phase, {bounds.days} are asked for", "wait"
    )


def _unproved(said: str, mend: str) -> Point:
    return Point(holds=False, said=said, mend=mend)


_ASKED: dict[Phase, Callable[[str, Evidence, Bounds], tuple[Point, ...]]] = {
    Phase.REHEARSE: _rehearsed,
    Phase.DUAL_WRITE: _dual_written,
    Phase.BACKFILL: _backfilled,
    Phase.READ: _followed,
    Phase.WRITE: _flipped,
}


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items() if each is not None}
        case tuple():
            return [_plain(each) for each in value]
        case datetime():
            return value.isoformat()
        case Compared() | Discrepancy() | Lag() | Later():
            return _plain(vars(value))
    return value


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
