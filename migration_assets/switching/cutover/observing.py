"""Observe: for the declared time after the flip, is there anything that calls for a rollback?

Belongs here: one look at the declared triggers. Does not belong here: the decision, which is its
owner's. An alarm stays until he rolls back, or says in a reason what was done about it; then the
time begins anew.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from migration_assets.adoption import Phase
from migration_assets.counting import several
from migration_assets.errors import Permanent
from migration_assets.manifest.cutovers import Look
from migration_assets.run import SETTLE_LAG
from migration_assets.switching.cutover.asking import news
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.flipping import flipped_at
from migration_assets.switching.cutover.plan import TRIGGERS, Came, CutoverStep, Seen, done, waits

_KNOWN = "settled_by"


def observe(case: Case) -> Seen:
    """Look at every trigger once; over when none was met for the declared time."""
    if case.phase is not Phase.WRITE:
        raise Permanent(
            f"{case.name} is not in phase write any more: it was moved by hand. `{case.command} "
            "--rollback --reason …` ends this cutover, or move it back to write."
        )
    looks = case.looks(CutoverStep.OBSERVE)
    evidence, met = _looked(case)
    if met and not case.word.forced:
        return _alarm(case, evidence, met)
    if met:
        settled = {"met": met, _KNOWN: case.word.by, "reason": case.word.reason}
        return waits(f"settled by {case.word.by}; the time begins anew", evidence | settled)
    if evidence["to_take_back"]:
        return _owed(evidence)
    calm = _calm_since(case, looks)
    observed = int((case.desk.clock() - calm).total_seconds())
    evidence["calm_seconds"] = observed
    if observed >= case.plan.observe_seconds:
        return done(f"{_span(observed)} without a trigger", evidence)
    return waits(
        f"{_span(observed)} of {_span(case.plan.observe_seconds)} without a trigger", evidence
    )


def last_look(case: Case) -> Seen | None:
    """What keeps the types from being retired; None if nothing does, or it is forced."""
    evidence, met = _looked(case)
    if case.word.forced:
        return None
    if met:
        return _alarm(case, evidence, met)
    return _owed(evidence) if evidence["to_take_back"] else None


def _owed(evidence: dict[str, Any]) -> Seen:
    number = evidence["to_take_back"]
    changes = several(number, "change")
    return waits(f"{changes} to be written back: `migration write-back`", evidence)


def _alarm(case: Case, evidence: dict[str, Any], met: list[str]) -> Seen:
    said = "; ".join(f"{each}: {TRIGGERS[each]}" for each in met)
    return Seen(
        Came.ALARM,
        f"ROLLBACK TRIGGER, {case.plan.owner} decides. {said}. `{case.command} "
        '--rollback --reason "…"`; or mend it, then --force --reason "what was done"',
        evidence | {"met": met},
    )


def _looked(case: Case) -> tuple[dict[str, Any], list[str]]:
    """What is seen now, and which triggers it meets."""
    looks = case.looks(CutoverStep.OBSERVE)
    known = next((each for each in reversed(looks) if _KNOWN in each.evidence), None)
    evidence = _evidence(case, known)
    return evidence, _met(case, evidence, known)


def _evidence(case: Case, known: Look | None) -> dict[str, Any]:
    takes = case.desk.takes_back
    taken = takes.take_back(case.mapping) if takes.takes(case.mapping) else {}
    told = known.evidence.get("asked_at") if known else None
    since = datetime.fromisoformat(told) - SETTLE_LAG if told else None
    asked = news(case, count_all=True, since=since)
    part = case.part()
    after, written = _after(case, known), part.last_write()
    landed = part.landed_since(after, changed_since=since) if after else 0
    return {
        "legacy_edits": landed + (0 if asked.followed else asked.rows),
        "landed_edits": landed,
        "asked_at": asked.asked_at.isoformat() if asked.asked_at else None,
        "read_whole": int(asked.whole),
        "last_write": written.isoformat() if written else None,
        "to_take_back": takes.open(part),
        "refused_back": takes.refused(part),
        "unexplained": part.unexplained(),
        "rows": part.balance().eligible,
        **{f"taken_back/{name}": number for name, number in taken.items()},
    }


def _met(case: Case, evidence: dict[str, Any], known: Look | None) -> list[str]:
    """The triggers that are met, beyond what somebody settled before."""
    before = known.evidence if known else {}
    edits, seen = _unseen(before) if evidence["read_whole"] else 0, _unseen(evidence)
    since, told = _after(case, known), evidence["last_write"]
    written = datetime.fromisoformat(told) if told else None
    allowed = max(int(case.plan.exceptions_share * evidence["rows"]), before.get("unexplained", 0))
    met = {
        "legacy-edits": seen > edits or evidence["landed_edits"] > 0,
        "overwritten": bool(since and written and written > since),
        "not-taken-back": evidence["refused_back"] > before.get("refused_back", 0),
        "exceptions": evidence["unexplained"] > allowed,
    }
    return [name for name in case.plan.triggers if met.get(name)]


def _after(case: Case, known: Look | None) -> datetime | None:
    """From when on whatever happens is a trigger."""
    return known.began_at if known else flipped_at(case)


def _unseen(evidence: Mapping[str, Any]) -> int:
    """Edits that are not on account."""
    return int(evidence.get("legacy_edits", 0)) - int(evidence.get("landed_edits", 0))


def _calm_since(case: Case, looks: tuple[Look, ...]) -> datetime:
    """Since the flip, or since an alarm or its settling."""
    loud = [each for each in looks if each.outcome == Came.ALARM or _KNOWN in each.evidence]
    flip = case.standing.of(CutoverStep.FLIP).last
    begun = loud[-1] if loud else flip
    return begun.ended_at or begun.began_at if begun else case.desk.clock()


def _span(seconds: int) -> str:
    """A time as people say it."""
    for unit, of in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * of:
            return f"{seconds / of:.1f} {unit}"
    return f"{seconds} s"
