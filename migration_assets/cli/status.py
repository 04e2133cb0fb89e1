"""``migration status``: the balance per type, from the account."""

from typing import Annotated

import typer

from migration_assets.cli.output import balance_table, console, exceptions_table, print_json
from migration_assets.cli.status_by import By, recount, show_by
from migration_assets.cli.status_cohorts import cohort_lines, plain, print_lines
from migration_assets.connections import Connections, mappings_of
from migration_assets.counting import several, verb
from migration_assets.manifest import State
from migration_assets.manifest.custody import SEALED, Act
from migration_assets.reconciliation.balance import exceptions_by_type, sent_balances, type_balances
from migration_assets.settings import read_settings
from migration_assets.steps.pausing import told


def status(
    by: Annotated[By, typer.Option(help="The balance by which side.")] = By.TYPE,
    count_again: Annotated[  # noqa: FBT002 - typer's way
        bool, typer.Option("--recount", help="Count every unit, and correct the kept balance.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Show the balance per type, and why rows did not arrive. Exit 1 if the balance fails.

    By window, mapping version or run it shows the parts of each type instead.
    """
    settings = read_settings()
    found = mappings_of(settings)
    if count_again or by is not By.TYPE:
        with Connections(settings).manifest() as manifest:
            if count_again:
                recount(manifest, as_json=as_json)
            else:
                show_by(by, manifest, list(found.values()), settings, as_json=as_json)
        return
    with Connections(settings).manifest() as manifest:
        balances = type_balances(manifest, found.values())
        balances += sent_balances(manifest, found.values())
        cohorts = cohort_lines(manifest, found.values(), Connections(settings).adoption())
        exceptions = exceptions_by_type(manifest, found.values())
        done = manifest.protection.custody.latest(1)
        standing = manifest.pauses.standing()
        marks = {each.stream: manifest.high_water_mark(each.stream) for each in found.values()}
    paused = [
        (each.resource_type, standing[each.stream])
        for each in found.values()
        if each.stream in standing
    ]
    holds = all(each.balance.holds for each in balances)
    if as_json:
        print_json(
            {
                "types": {each.resource_type: each.as_numbers() for each in balances},
                "exceptions": [
                    {
                        "type": resource_type,
                        "state": each.state.value,
                        "reason": each.reason,
                        "field": each.field,
                        "count": each.count,
                    }
                    for resource_type, each in exceptions
                ],
                "marks": {name: mark and mark.isoformat() for name, mark in marks.items()},
                "paused": [
                    {
                        "type": resource_type,
                        "since": each.at.isoformat(),
                        "run": each.run_id,
                        "failed": each.failed,
                        "of": each.seen,
                        "reasons": dict(each.reasons),
                    }
                    for resource_type, each in paused
                ],
                **({"cohorts": plain(cohorts)} if cohorts else {}),
                "encrypted": bool(settings.keys),
                "retention": settings.retention,
                "balance_holds": holds,
            }
        )
    else:
        out = console()
        out.print(balance_table(balances))
        if exceptions:
            out.print(exceptions_table(exceptions))
        print_lines(cohorts)
        for resource_type, each in paused:
            out.print(told(each, resource_type), style="yellow", markup=False)
        for act in done:
            out.print(_told(act), markup=False)
        pending = sum(each.balance.by_state[State.PENDING] for each in balances if not each.within)
        if pending:
            out.print(
                f"{several(pending, 'row is', 'rows are')} pending: materialize "
                f"{verb(pending, 'its type to settle it', 'their types to settle them')}."
            )
        if not any(each.balance.eligible for each in balances):
            out.print("Nothing is on account yet: materialize an asset, or run `migration demo`.")
    if not holds:
        raise typer.Exit(1)


def _told(act: Act) -> str:
    """The last thing that was done to the rows on account as a whole."""
    what = f"{several(act.rows, 'row')} {act.act}" + (f" of {act.stream}" if act.stream else "")
    how = f"key {act.terms}" if act.act == SEALED else f"kept: {act.terms}"
    end = "" if act.finished_at else "; it did not come to its end, run it again"
    return f"{act.started_at:%Y-%m-%d}: {what} by {act.by} ({how}){end}."
