"""Drain and final delta: what arrived is delivered, then what the source still had, deletions too.

Belongs here: both steps. Does not belong here: what a sweep believes (``sweeping``). A row that
changed after the freeze was proved is brought over like any other, and the freeze begins again.
"""

from migration_assets.adoption.cohorts import UNKNOWN
from migration_assets.counting import several
from migration_assets.manifest import State
from migration_assets.operations.delivering import deliver_events
from migration_assets.pipeline import migrate
from migration_assets.steps.resolution import AWAITING
from migration_assets.sweeping import sweep
from migration_assets.switching.cutover.asking import follow
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.plan import Came, CutoverStep, Seen, done, waits


def drain(case: Case) -> Seen:
    """Deliver what is pending; over when nothing is, and whoever waits for another is explained."""
    _deliver(case)
    part = case.part()
    balance = part.balance()
    evidence = {
        "rows": balance.eligible,
        "pending": balance.by_state[State.PENDING],
        "in_inbox": case.desk.inbox_waiting(case.streams),
        "awaiting": part.awaiting(),
        "cohort_unknown": part.untold(),
    }
    if evidence["in_inbox"]:
        events = several(evidence["in_inbox"], "event")
        return waits(f"{events} of the inbox to be delivered", evidence)
    if evidence["pending"]:
        return waits(f"{several(evidence['pending'], 'row')} to be delivered", evidence)
    if evidence["awaiting"]:
        return waits(
            f"{several(evidence['awaiting'], 'row')} without what they refer to: bring that over, "
            f"or `migration assign --type {case.kind} --reason {AWAITING} --decision accept` with "
            '--approver "…"',
            evidence,
        )
    if evidence["cohort_unknown"]:
        return waits(nobody_knows(case, evidence["cohort_unknown"]), evidence)
    return done(f"all {balance.eligible:,} rows have their outcome", evidence)


def nobody_knows(case: Case, rows: int) -> str:
    """What is said of rows that may be in the part that is cut over, or in another."""
    return (
        f"{several(rows, 'row')} may be in any cohort, so that nobody knows whether they are of "
        f"{case.name} ({UNKNOWN}): `migration exceptions --type {case.kind} --open` lists them; "
        "bring over whom they are of, or mend the rows"
    )


def _deliver(case: Case) -> None:
    """Deliver what is pending of the stream, and what the inbox holds."""
    balance = case.desk.manifest.balances().get(case.mapping.stream)
    if balance is not None and balance.by_state[State.PENDING]:
        with case.run() as run:
            migrate(run, case.mapping)
    if case.desk.inbox_waiting(case.streams):
        with case.run() as run:
            deliver_events(run, case.desk.mappings)


def final_delta(case: Case) -> Seen:
    """Pull and sweep for the last time; over when all of it is delivered."""
    frozen = _last_landings(case)
    changed = follow(case)
    landings = case.landings()
    if frozen is not None and landings != frozen:
        late = max(0 if case.declared.cohorts else changed, abs(landings - frozen))
        return Seen(
            Came.BROKEN,
            f"{several(late, 'row')} landed after the freeze was proved: somebody still writes in "
            "the legacy system. They are brought over; the freeze begins again",
            {"changed": late, "landings": landings},
        )
    evidence = {"changed": changed} | _swept(case)
    with case.run() as run:
        migrate(run, case.mapping)
    evidence |= {
        "pending": case.part().balance().by_state[State.PENDING],
        "landings": case.landings(),
    }
    if evidence["pending"]:
        return waits(f"{several(evidence['pending'], 'row')} to be delivered", evidence)
    return done(_told(evidence), evidence)


def _last_landings(case: Case) -> int | None:
    """As of the last look that told: an earlier look at this step may have swept something up."""
    looks = (*case.looks(CutoverStep.FREEZE), *case.looks(CutoverStep.FINAL_DELTA))
    told = [each.evidence["landings"] for each in looks if "landings" in each.evidence]
    return int(told[-1]) if told else None


def _swept(case: Case) -> dict[str, int]:
    """What no change time tells; a second reading where one is needed to believe an absence."""
    if case.desk.described(case.mapping).queue is not None:
        return {}  # a queue shows what changed, never all there is
    silent = gone = 0
    for _reading in range(2):
        with case.run() as run:
            found = sweep(run, case.mapping)
        silent += found.landed.new + found.landed.changed
        gone += found.gone
        if not found.waiting:
            break
    return {
        "read": found.landed.rows,
        "changed_silently": silent,
        "gone": gone,
        "hidden": found.hidden,
    }


def _told(evidence: dict[str, int]) -> str:
    if "read" not in evidence:
        return "the queue was read to its end"
    return (
        f"{several(evidence['read'], 'row')} read, {evidence['changed_silently']:,} had changed "
        f"without a word, {evidence['gone']:,} were gone"
    )
