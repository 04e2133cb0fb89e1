"""Verify: the account balances, Medplum was compared with it as a whole, and somebody signed.

Belongs here: what is proved before the flip, and by whose word it happens. Does not belong here:
comparing (``reconciliation``). Who signs later has it compared again: what somebody else deleted in
Medplum meanwhile is told by no account of ours.
"""

from typing import Any

from migration_assets.adoption.cohorts import Terms
from migration_assets.counting import several
from migration_assets.manifest import State
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.findings import Checked
from migration_assets.reconciliation.referenced import check_references
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.draining import nobody_knows
from migration_assets.switching.cutover.plan import Seen, done, waits


def verify(case: Case) -> Seen:
    """Prove it; over when somebody's name stands under it."""
    account = _account(case)
    unproved = _unproved(case, account)
    if unproved:
        return waits(unproved, account)
    evidence = account | _compared(case)
    if evidence["findings"]:
        return waits(
            f"{several(evidence['findings'], 'finding')}: `migration reconcile --references "
            f"{' '.join(case.mapping.types)}{_options(case)}` tells them, --repair mends",
            evidence,
        )
    approved_by = (case.word.approved_by or "").strip()
    if not approved_by:
        return waits(
            "all is proved and a signature is missing: read `migration report`, then `migration "
            f'{case.command.removeprefix("migration ")} --approved-by "…"`',
            evidence,
        )
    told = f"{account['rows']:,} rows balance, {evidence['compared']:,} resources compared"
    return done(
        f"{told}, no finding; signed by {approved_by}", evidence | {"approved_by": approved_by}
    )


def compared_with(terms: Terms, related: str | None) -> Cohort:
    """What is compared: a cohort's rows, or all; ``related``: of which type, if not the main."""
    return Cohort(
        resource_type=related,
        stream=terms.stream,
        since=terms.since,
        until=terms.until,
        organization=terms.organization,
    )


def _options(case: Case) -> str:
    options = case.terms.as_options()
    return f" {options}" if options else ""


def _account(case: Case) -> dict[str, Any]:
    part = case.part()
    balance = part.balance()
    return {
        "rows": balance.eligible,
        "balance_holds": int(balance.holds),
        "pending": balance.by_state[State.PENDING],
        "unexplained": part.unexplained(),
        "cohort_unknown": part.untold(),
        "landings": case.landings(),
    }


def _unproved(case: Case, account: dict[str, Any]) -> str:
    if not account["balance_holds"]:
        return "the balance is broken: let nothing run, and report it (`migration status`)"
    if account["pending"]:
        return f"{several(account['pending'], 'row')} to be delivered"
    if account["unexplained"]:
        return (
            f"{several(account['unexplained'], 'row')} did not arrive and nobody accepted that: "
            f"`migration exceptions --type {case.kind} --open`"
        )
    if account["cohort_unknown"]:
        return nobody_knows(case, account["cohort_unknown"])
    return ""


def _compared(case: Case) -> dict[str, Any]:
    """Every type compared as a whole, or a cohort of it: content, or of a sample; references."""
    manifest, mapping, clock = case.desk.manifest, case.mapping, case.desk.clock
    asker, sample = Asker(case.desk.fhir), case.plan.sample
    made, compared = [], 0
    for kind in mapping.types:
        related = None if kind == case.kind else kind
        cohort = compared_with(case.terms, related)
        whole = compare(manifest, asker, mapping, cohort=cohort, deep=not sample, clock=clock)
        compared += whole.evidence.expected
        made.append(whole.evidence)
        if sample:
            drawn = compare(
                manifest, asker, mapping, cohort=cohort, deep=True, sample=sample, clock=clock
            )
            made.append(drawn.evidence)
        named = check_references(manifest, asker, mapping, cohort=cohort, clock=clock)
        made.append(named.evidence)
    return {
        "comparisons": [each.id for each in made],
        "compared": compared,
        "content": Checked.CONTENT if not sample else f"of {sample}",
        "findings": sum(sum(each.counts.values()) for each in made),
    }
