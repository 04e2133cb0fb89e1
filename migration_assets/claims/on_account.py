"""Claims about a type that the account alone can prove: looked at, counted, with what mends them.

Belongs here: verdicts for people, told in counts and reasons. Does not belong here: Dagster, asking
Medplum (``reconciliation``), or acting on a verdict (``gates``).

A claim that nothing was done for does not hold: where nothing is delivered, green would be a lie.
It does not alarm either (``alarming`` is off): that nothing is claimed is on purpose.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from migration_assets.counting import of_several, several, verb
from migration_assets.manifest import Balance, Group, Pause, State
from migration_assets.steps.pausing import told
from migration_assets.steps.resolution import AWAITING


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim after it was looked at; ``mend`` is the command or step for one that fails."""

    holds: bool
    said: str
    counts: Mapping[str, int] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)
    """What it rests on, in words, by name."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    mend: str = ""
    alarming: bool = True


def nothing_claimed(why: str, mend: str = "", counts: Mapping[str, int] | None = None) -> Claim:
    """What is said where there is nothing to prove: neither green nor an alarm."""
    return Claim(
        holds=False,
        said=f"Nothing is claimed: {why}",
        counts=counts or {},
        mend=mend or "nothing to mend; this is as it was set up",
        alarming=False,
    )


def accounted(
    resource_type: str,
    balance: Balance | None,
    *,
    refusal: str = "",
    subset: bool = False,
    owned: bool = False,
    left_out: Mapping[str, int] | None = None,
) -> Claim:
    """Whether every row on account has its outcome.

    ``refusal`` says why nothing was delivered on purpose, if so; ``subset`` that only some of the
    rows were asked for; ``owned`` that Medplum owns the type: what is written in the legacy system
    since then is not on account, so that a whole account of rows proves nothing any more.
    ``left_out`` rows, by cohort and reason, have an outcome: nothing is delivered of their cohort.
    """
    if balance is None:
        return Claim(holds=True, said="No row is on account.", counts={"pending": 0})
    pending = balance.by_state[State.PENDING]
    counts = {"rows": balance.eligible, "pending": pending}
    if not balance.holds:
        return Claim(
            holds=False,
            said=f"On account: {several(balance.eligible, 'row')}. By state they are "
            f"{sum(balance.by_state.values()):,}.",
            counts=counts,
            mend="let nothing run, and look at `migration status`: this is a defect, report it",
        )
    if owned or (pending and refusal):
        why = refusal if owned else f"{several(pending, 'row is', 'rows are')} pending. {refusal}"
        return nothing_claimed(why, counts=counts)
    if not pending:
        said = f"{_each(balance.eligible)} outcome."
        out = {f"left_out/{name}": number for name, number in (left_out or {}).items()}
        if out:
            said += f" {several(sum(out.values()), 'row is', 'rows are')} left out by cohort."
        return Claim(holds=True, said=said, counts=counts | out)
    if subset:
        return nothing_claimed(
            f"only a subset was asked for, {several(pending, 'other stays', 'others stay')} "
            "pending.",
            f"`migration remap {resource_type}`, or materialize without limit, keys, sample: "
            "a subset leaves the others out on purpose",
            counts,
        )
    return Claim(
        holds=False,
        said=f"{of_several(pending, balance.eligible, 'row')} {verb(pending, 'has', 'have')} no "
        "outcome yet.",
        counts=counts,
        mend=f"`migration remap {resource_type}` settles what is pending, as does the next run",
    )


def _each(rows: int) -> str:
    return "The one row has its" if rows == 1 else f"All {rows:,} rows have their"


def unsettled(groups: Iterable[Group]) -> Counter[str]:
    """How many rows did not arrive and nobody accepted it, by reason; waiting is no failure."""
    found: Counter[str] = Counter()
    for each in groups:
        if each.open and each.reason != AWAITING:
            found[each.reason] += each.open
    return found


def exceptions_below(
    resource_type: str, groups: Iterable[Group], balance: Balance | None, *, share: float
) -> Claim:
    """Whether no more than ``share`` of the rows on account failed to arrive, unaccepted."""
    reasons = unsettled(groups)
    failed, rows = reasons.total(), balance.eligible if balance else 0
    counts = {"exceptions": failed, "rows": rows, "allowed": int(share * rows)}
    allowed = int(share * rows)
    said = f"{of_several(failed, rows, 'row')} did not arrive; "
    said += f"{allowed:,} {verb(allowed, 'is', 'are')} allowed."
    if failed <= share * rows:
        return Claim(holds=True, said=said, counts=counts, reasons=reasons)
    most = reasons.most_common(1)[0][0]
    return Claim(
        holds=False,
        said=said,
        counts=counts,
        reasons=reasons,
        mend=f"`migration exceptions --type {resource_type}` tells what each reason needs; once "
        f"that is done, `migration redeliver --type {resource_type} --reason {most}`",
    )


def fresh(
    resource_type: str,
    *,
    now: datetime,
    mark: datetime | None,
    current_until: datetime | None,
    within: timedelta,
    pause: Pause | None = None,
) -> Claim:
    """Whether nothing that changed longer ago than ``within`` can be missing.

    A quiet source is current as long as it is asked: the mark alone, which only a change moves,
    would tell nothing. Nor would the last materialization: a backfill of last year is one.
    """
    if mark is None:
        return nothing_claimed(
            "no window was pulled yet.", f"materialize a partition of medplum/{resource_type}"
        )
    until = max(mark, current_until or mark)
    age = max(0, int((now - until).total_seconds()))
    counts = {"age_seconds": age, "allowed_seconds": int(within.total_seconds())}
    counts["mark_age_seconds"] = max(0, int((now - mark).total_seconds()))
    if age <= within.total_seconds():
        return Claim(holds=True, said=f"Current as of {age:,} s ago.", counts=counts)
    late = f"Asked for news {age:,} s ago for the last time that all of it was read."
    if pause is not None:
        return Claim(
            holds=False,
            said=f"{late} {told(pause, resource_type)}",
            counts=counts,
            reasons=pause.reasons,
            mend=f"mend the cause, then `migration resume {resource_type}`",
        )
    return Claim(
        holds=False,
        said=late,
        counts=counts,
        mend="`dagster sensor start legacy_changes`, and look at what its ticks and the last "
        f"incremental_pull say; `migration sweep {resource_type}` reads all of it at once",
    )
