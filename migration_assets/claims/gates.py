"""Gates: where a type stands so badly that what rests on it must not start.

Belongs here: raising, before anything is reported as done. Does not belong here: verdicts
(``claims``), or pausing a stream (``pausing``). A failed check stops its own run only
(dagster.md §2, rule 7): another run, a later one and the rest of a backfill go on. So a gate is an
error in the type's own run, and is asked for again, on account, by what comes after it.

An incremental pull goes on below a gate that is shut: it brings few rows, which wait for what they
refer to, and the sensor leaves a paused stream out on purpose.
"""

from collections.abc import Sequence
from typing import Any

from migration_assets.claims.on_account import unsettled
from migration_assets.claims.on_medplum import hindrance
from migration_assets.counting import several
from migration_assets.errors import Permanent, Transient
from migration_assets.manifest import Balance, Manifest, Selection
from migration_assets.mapping import Mapping
from migration_assets.run import Run
from migration_assets.steps.pausing import refuse_paused, told


def refuse_to_start(run: Run, mapping: Mapping[Any], upstream: Sequence[Mapping[Any]]) -> None:
    """Stop before a whole window is pulled, if what the type rests on stands badly.

    Raises:
        Permanent: names the type, what is wrong with it, and the command that mends it.
    """
    if not _delivers(run, mapping):
        return
    pauses = run.manifest.pauses.standing()
    balances = run.manifest.balances() if upstream else {}
    for each in upstream:
        kind = each.resource_type
        why = _shut(run, each, balances.get(each.stream)) or _disproved(run, each)
        if each.stream in pauses:
            why = told(pauses[each.stream], kind)
        if why:
            raise Permanent(
                f"{mapping.resource_type} does not start, because it refers to {kind}: {why}"
            )


def refuse_to_go_on(run: Run, mapping: Mapping[Any], balance: Balance | None) -> None:
    """Stop before the type is reported as done, if what comes next must not start.

    Raises:
        Permanent: the balance does not hold, the stream is paused, or the gate for exceptions is
            shut; everything landed and settled is kept.
    """
    refuse_paused(run, mapping)
    if not _delivers(run, mapping):
        return
    why = _shut(run, mapping, balance)
    if why:
        raise Permanent(f"{mapping.resource_type} is not done, and nothing goes on from it: {why}")


def refuse_outdated(manifest: Manifest, resource_type: str, run_id: int) -> None:
    """Stop a run that waited for its turn while the type was moved to another phase.

    It knows the old one: what it would write, Medplum may own by now. Asked under the type's lease,
    without which no type is moved.

    Raises:
        Transient: everything landed is kept, and the next run knows the phase.
    """
    if manifest.switching.moved_during(resource_type, run_id):
        raise Transient(
            f"{resource_type} was moved to another phase while this run was under way. "
            "Nothing more is delivered by it, what landed is kept; run again."
        )


def _delivers(run: Run, mapping: Mapping[Any]) -> bool:
    """A rehearsal is stopped by nothing: it is there to be told everything that is wrong."""
    return run.fhir is not None and run.adoption.standing(mapping.resource_type).may_deliver


def _disproved(run: Run, mapping: Mapping[Any]) -> str:
    """What the last whole comparisons of a type found that nothing may be built on.

    Where Medplum owns the type, or part of it, people delete and merge there as they see fit: what
    the account says is no measure any more, and no repair of ours would open the way again.
    """
    if run.adoption.standing(mapping.resource_type).owned_cohorts:
        return ""
    account = run.manifest.reconciliations
    why = (hindrance(kind, account.latest(resource_type=kind, limit=50)) for kind in mapping.types)
    return " ".join(each for each in why if each)


def _shut(run: Run, mapping: Mapping[Any], balance: Balance | None) -> str:
    """Why nothing may go on from a type, in sentences; empty if it may."""
    if balance is None:
        return ""
    if not balance.holds:
        return (
            f"its balance is broken ({several(balance.eligible, 'row')}, and "
            f"{sum(balance.by_state.values()):,} by state). Let nothing run, and look at "
            "`migration status`: this is a defect, report it."
        )
    gate = run.tolerance.gate
    if gate is None:
        return ""
    chosen = Selection(streams=(mapping.stream,), open_only=True)
    reasons = unsettled(run.manifest.decisions.groups(chosen))
    if reasons.total() <= gate * balance.eligible:
        return ""
    most, _ = reasons.most_common(1)[0]
    kind = mapping.resource_type
    return (
        f"{reasons.total():,} of its {several(balance.eligible, 'row')} did not arrive, more than "
        f"MIGRATION_EXCEPTIONS_GATE lets pass (mostly {most}). `migration exceptions --type "
        f"{kind}` tells what each reason needs; then `migration redeliver --type {kind} --reason "
        f"{most}`."
    )
