"""Verify: the account balances, Medplum was compared with it as a whole, and somebody signed.

Belongs here: what is proved before the flip, and by whose word it happens. Does not belong here:
comparing (``reconciliation``). Who signs later signs the same evidence, as long as nothing landed
and nothing was written since; else it is compared again.
"""

from datetime import datetime
from typing import Any

from migration_assets.claims.on_account import unsettled
from migration_assets.manifest import Selection, State
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.findings import Checked
from migration_assets.reconciliation.referenced import check_references
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.plan import CutoverStep, Seen, done, waits


def verify(case: Case) -> Seen:
    """Prove it, unless it is proved; over when somebody's name stands under it."""
    account = _account(case)
    unproved = _unproved(case.kind, account)
    if unproved:
        return waits(unproved, account)
    evidence = account | (_still_true(case) or _compared(case))
    if evidence["findings"]:
        return waits(
            f"{evidence['findings']:,} findings: `migration reconcile --references "
            f"{' '.join(case.mapping.types)}` tells them, --repair mends",
            evidence,
        )
    approved_by = (case.word.approved_by or "").strip()
    if not approved_by:
        return waits(
            "all is proved and a signature is missing: read `migration report`, then `migration "
            f'cutover {case.kind} --approved-by "…"`',
            evidence,
        )
    told = f"{account['rows']:,} rows balance, {evidence['compared']:,} resources compared"
    return done(
        f"{told}, no finding; signed by {approved_by}", evidence | {"approved_by": approved_by}
    )


def last_write(case: Case) -> datetime | None:
    """When we last changed a resource of these types in Medplum."""
    writes = [case.desk.manifest.switching.last_write(each) for each in case.mapping.types]
    return max((each for each in writes if each is not None), default=None)


def unexplained(case: Case) -> int:
    """Rows that did not arrive, and that nobody accepted."""
    chosen = Selection(streams=(case.mapping.stream,), open_only=True)
    return unsettled(case.desk.manifest.decisions.groups(chosen)).total()


def _account(case: Case) -> dict[str, Any]:
    balance = case.balance
    return {
        "rows": balance.eligible,
        "balance_holds": int(balance.holds),
        "pending": balance.by_state[State.PENDING],
        "unexplained": unexplained(case),
        "landings": case.landings(),
    }


def _unproved(kind: str, account: dict[str, Any]) -> str:
    if not account["balance_holds"]:
        return "the balance is broken: let nothing run, and report it (`migration status`)"
    if account["pending"]:
        return f"{account['pending']:,} rows to be delivered"
    if account["unexplained"]:
        return (
            f"{account['unexplained']:,} rows did not arrive and nobody accepted that: `migration "
            f"exceptions --type {kind} --open`"
        )
    return ""


def _still_true(case: Case) -> dict[str, Any] | None:
    """What was compared without a finding and waits for a signature, if nothing happened since."""
    last = next((each for each in reversed(case.looks(CutoverStep.VERIFY))), None)
    if last is None or last.evidence.get("findings") != 0:
        return None
    written = last_write(case)
    if last.evidence["landings"] != case.landings() or (written and written >= last.began_at):
        return None
    return {name: last.evidence[name] for name in ("findings", "compared", "comparisons")}


def _compared(case: Case) -> dict[str, Any]:
    """Every type compared as a whole: content too, or that of a sample; and its references."""
    manifest, mapping, clock = case.desk.manifest, case.mapping, case.desk.clock
    asker, sample = Asker(case.desk.fhir), case.plan.sample
    made, compared = [], 0
    for kind in mapping.types:
        related = None if kind == case.kind else kind
        cohort = Cohort(resource_type=related)
        whole = compare(manifest, asker, mapping, cohort=cohort, deep=not sample, clock=clock)
        compared += whole.evidence.expected
        made.append(whole.evidence)
        if sample:
            drawn = compare(
                manifest, asker, mapping, cohort=cohort, deep=True, sample=sample, clock=clock
            )
            made.append(drawn.evidence)
        named = check_references(manifest, asker, mapping, resource_type=related, clock=clock)
        made.append(named.evidence)
    return {
        "comparisons": [each.id for each in made],
        "compared": compared,
        "content": Checked.CONTENT if not sample else f"of {sample}",
        "findings": sum(sum(each.counts.values()) for each in made),
    }
