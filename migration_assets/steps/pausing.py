"""Pausing: a stream of which too much failed stands still, with everything kept, until resumed.

Belongs here: when a run pauses a stream, and what it says. Does not belong here: the threshold
itself (``thresholds``), or what is on account of a pause (``manifest.pauses``).

A poison row is one row's fate and stops nothing. Hundreds of them are a wrong mapping, another
source, or a refusing project: going on would quarantine a whole stream. Waiting for a reference is
no failure, nor is what a person has accepted. A rehearsal pauses nothing: it is there to be told
everything that is wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.manifest import Landed, Pause, Settlement, State
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.run import Run
from migration_assets.steps.resolution import AWAITING

_LANDING = "landing"
_SETTLING = "settling"
_FAILED = (State.QUARANTINED, State.REJECTED)
_SHOWN = 3  # reasons named in a message


def refuse_paused(run: Run, mapping: MappingOf[Any]) -> None:
    """Stop here if the stream is paused.

    Raises:
        Permanent: it is; says why, since when, and how it is resumed.
    """
    pause = run.manifest.pauses.standing().get(mapping.stream)
    if pause is not None:
        raise Permanent(told(pause, mapping.resource_type))


def told(pause: Pause, resource_type: str) -> str:
    """Why a stream stands still and what to do, for people."""
    return (
        f"{resource_type} (stream {pause.stream}) is paused since {pause.at:%Y-%m-%d %H:%M} UTC: "
        f"{pause.failed:,} of {pause.seen:,} rows failed in run {pause.run_id} "
        f"({_most(pause.reasons)}). Everything landed is kept. Look at `migration exceptions "
        f"--type {resource_type}`, mend the cause, then `migration resume {resource_type}`, and "
        "`migration redeliver` for what failed."
    )


def note_landed(run: Run, mapping: MappingOf[Any], landed: Landed) -> None:
    """Count a page's rows and those of them that were held, and pause if that is too much.

    Raises:
        Permanent: the stream is paused from now on; the page is on account.
    """
    run.tally.saw(mapping.stream, _LANDING, landed.rows)
    if landed.quarantined:
        run.tally.failed(mapping.stream, _LANDING, {"held at landing": landed.quarantined})
        _pause_if_too_much(run, mapping, _LANDING)


def note_settled(run: Run, mapping: MappingOf[Any], settlements: Iterable[Settlement]) -> None:
    """Count those of some settled units that failed."""
    failed = Counter(
        f"{each.reason} at {each.field}" if each.field else str(each.reason)
        for each in settlements
        if each.state in _FAILED and each.reason != AWAITING
    )
    if failed:
        run.tally.failed(mapping.stream, _SETTLING, failed)


def note_held(run: Run, mapping: MappingOf[Any], units: int) -> None:
    """Count units that were held before the pass; whether they are too many, the pass finds out."""
    run.tally.saw(mapping.stream, _SETTLING, units)


def note_passed(run: Run, mapping: MappingOf[Any], units: int) -> None:
    """Count units that were looked at, and pause if too many of all of them failed.

    Raises:
        Permanent: the stream is paused from now on; what was settled is on account.
    """
    run.tally.saw(mapping.stream, _SETTLING, units)
    _pause_if_too_much(run, mapping, _SETTLING)


def _pause_if_too_much(run: Run, mapping: MappingOf[Any], step: str) -> None:
    reasons, seen = run.tally.reasons(mapping.stream, step), run.tally.seen(mapping.stream, step)
    failed = sum(reasons.values())
    delivers = run.fhir is not None and run.adoption.standing(mapping.resource_type).may_deliver
    if not delivers or not run.threshold.reached(failed, seen):
        return
    failed -= run.manifest.decisions.accepted_in(mapping.stream, run_id=run.id)
    if run.threshold.reached(failed, seen):
        run.manifest.pauses.pause(
            mapping.stream, run_id=run.id, failed=failed, seen=seen, reasons=reasons
        )
        refuse_paused(run, mapping)


def _most(reasons: Mapping[str, int]) -> str:
    """The most frequent reasons, with their counts."""
    named = Counter(reasons).most_common(_SHOWN)
    more = len(reasons) - len(named)
    shown = ", ".join(f"{reason}: {number:,}" for reason, number in named)
    return f"{shown}, and {more} more reasons" if more > 0 else shown
