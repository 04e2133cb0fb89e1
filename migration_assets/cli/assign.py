"""``migration assign``: say who looks after exceptions, and what is decided about them."""

from datetime import datetime
from typing import Annotated

import typer

from migration_assets.cli.choosing import refuse_everything, selection, speaker, streams
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections
from migration_assets.counting import several
from migration_assets.errors import Permanent
from migration_assets.manifest import Choice, Decision
from migration_assets.settings import read_settings


def assign(  # noqa: PLR0913, PLR0917 - a verb's options
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Keys of units.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Units of this FHIR type or stream.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Units with this reason.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Units settled in this run (number or label).")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Who looks after them from now on.")] = None,
    note: Annotated[str | None, typer.Option(help="What there is to say. No patient data.")] = None,
    decision: Annotated[Choice | None, typer.Option(help="What is to become of them.")] = None,
    approver: Annotated[str | None, typer.Option(help="Who approved it.")] = None,
    due: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="By when: YYYY-MM-DD.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; default: you.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Set owner, note or decision of units that did not arrive. What stood before is kept.

    accept closes them as explained, while the row and its outcome stay the same; it needs an
    approver. defer needs a due date. redeliver is a plan: `migration redeliver` does it.
    """
    if owner is None and note is None and decision is None:
        raise Permanent("Nothing to assign: give --owner, --note or --decision.")
    if decision is Choice.ACCEPT and not approver:
        raise Permanent("Accepting needs --approver: who says that this outcome is right?")
    if decision is Choice.DEFER and due is None:
        raise Permanent("Deferring needs --due: when is it looked at again?")
    if decision is None and (approver or due):
        raise Permanent("--approver and --due belong to a --decision.")
    settings = read_settings()
    chosen = selection(streams(settings, sent=True), keys=keys, types=types, reason=reason, run=run)
    refuse_everything(chosen)
    said = Decision(
        by=speaker(by),
        owner=owner,
        note=note,
        choice=decision,
        approver=approver,
        due=due.date() if due else None,
    )
    with Connections(settings).manifest() as manifest:
        assigned = manifest.decisions.assign(chosen, said)
    if as_json:
        print_json({"assigned": assigned})
    else:
        console().print(
            f"Written down for {several(assigned, 'unit')}." if assigned else "No such unit."
        )
    if not assigned:
        raise typer.Exit(1)
