"""``migration exceptions``: what did not arrive, why, who looks after it, and what is next."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from migration_assets.cli.choosing import Streams, selection, streams
from migration_assets.cli.output import STATE_STYLES, console, plain_table, print_json, short_key
from migration_assets.connections import Connections
from migration_assets.manifest import DeadLetter, Decision, Group
from migration_assets.reconciliation.next_steps import next_step
from migration_assets.settings import read_settings
from migration_assets.steps.probable_duplicates import ProbableDuplicate, probable_duplicates

_TRIED = 3  # attempts shown to people; JSON has all
_WHEN = "%Y-%m-%d %H:%M"


def exceptions(  # noqa: PLR0913, PLR0917 - a verb's options
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Show these units.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this FHIR type or stream.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Show the units with this reason.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only quarantined, rejected or skipped ones.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Show the units of this owner.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Show the units settled in this run (number or label).")
    ] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only what nobody explained.")] = False,  # noqa: FBT002 - typer's way
    limit: Annotated[int, typer.Option(min=1, help="How many units to show.")] = 20,
    same_people: Annotated[  # noqa: FBT002
        bool, typer.Option("--probable-duplicates", help="Show patients that may be one person.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Show what did not arrive, by reason; given a key, reason, owner or run, unit by unit.

    Prints keys, never what is in a row.
    """
    settings = read_settings()
    known = streams(settings, sent=True)
    chosen = selection(
        known,
        keys=keys,
        types=types,
        reason=reason,
        state=state,
        run=run,
        owner=owner,
        open_only=open_only,
    )
    with Connections(settings).manifest() as manifest:
        if same_people:
            found = probable_duplicates(manifest, known.named(types or []))
            _show_same_people(found, limit=limit, as_json=as_json)
            return
        groups = manifest.decisions.groups(chosen)
        one_by_one = keys or reason or owner or run
        letters = manifest.decisions.listed(chosen, limit=limit) if one_by_one else []
    if as_json:
        units = {"units": [_plain(each, known) for each in letters]} if one_by_one else {}
        print_json({"reasons": [_plain_group(each, known) for each in groups], **units})
        return
    if not groups:
        console().print("Nothing that was asked for is held, rejected or skipped.")
        return
    if not one_by_one:
        console().print(_table(groups, known))
        console().print("One by one: migration exceptions --reason REASON, or KEY.", markup=False)
        return
    for each in letters:
        _show(each, known)
    total = sum(each.count for each in groups)
    if total > len(letters):
        console().print(f"{len(letters)} of {total:,} shown; --limit shows more.")


def _table(groups: Sequence[Group], known: Streams) -> Table:
    table = plain_table("What did not arrive, and why")
    table.add_column("type, state", overflow="fold")
    table.add_column("reason", overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("open", justify="right", no_wrap=True)
    table.add_column("for example", overflow="fold")
    for each in groups:
        table.add_row(
            Text.assemble(
                known.type_of(each.stream), "\n", (each.state.value, STATE_STYLES[each.state])
            ),
            Text(f"{each.reason}\nat {each.field}" if each.field else each.reason),
            f"{each.count:,}",
            f"{each.open:,}" if each.open else "·",
            Text("\n".join(short_key(key) for key in each.example_keys)),
        )
    table.caption = "open: quarantined or rejected, and accepted by nobody."
    return table


def _show(each: DeadLetter, known: Streams) -> None:
    at = f" at {each.field}" if each.field else ""
    out = console()
    out.print(
        Text.assemble(
            (short_key(each.key, longest=60), "bold"),
            f"  {known.type_of(each.stream)}  ",
            (each.state.value, STATE_STYLES[each.state]),
            f"  {each.reason}{at}",
        )
    )
    more = len(each.attempts) - _TRIED
    lines = [f"since {each.since:{_WHEN}}"]
    lines += [f"{more} earlier attempts"] if more > 0 else []
    lines += [
        f"tried {one.at:{_WHEN}}  {one.method} {one.status} {one.event} {one.outcome or ''}"
        for one in each.attempts[-_TRIED:]
    ]
    lines += [f"owner {each.owner}"] if each.owner else []
    lines += [_told(each.decision)] if each.decision else []
    lines += [f"note {each.note}"] if each.note else []
    for line in (*lines, f"next: {next_step(each)}"):
        out.print(Padding(Text(line), (0, 0, 0, 4), expand=False))


def _told(decision: Decision) -> str:
    parts = [f"decided {decision.choice}", f"by {decision.by}"]
    parts += [f"approved by {decision.approver}"] if decision.approver else []
    parts += [f"due {decision.due}"] if decision.due else []
    return ", ".join(parts)


def _plain_group(each: Group, known: Streams) -> dict[str, Any]:
    return {
        "type": known.type_of(each.stream),
        "stream": each.stream,
        "state": each.state.value,
        "reason": each.reason,
        "field": each.field,
        "count": each.count,
        "open": each.open,
        "example_keys": [_printable(key) for key in each.example_keys],
    }


def _plain(each: DeadLetter, known: Streams) -> dict[str, Any]:
    decided = each.decision
    return {
        "type": known.type_of(each.stream),
        "stream": each.stream,
        "key": _printable(each.key),
        "state": each.state.value,
        "reason": each.reason,
        "field": each.field,
        "since": each.since.isoformat(),
        "open": each.open,
        "owner": each.owner,
        "note": each.note,
        "decision": _plain_decision(decided) if decided else None,
        "next_action": next_step(each),
        "due": decided.due.isoformat() if decided and decided.due else None,
        "attempts": [
            {
                "at": one.at.isoformat(),
                "run": one.run_id,
                "method": one.method,
                "status": one.status,
                "event": one.event,
                "outcome": one.outcome,
            }
            for one in each.attempts
        ],
        "history": [_plain_decision(one) for one in each.decisions],
    }


def _plain_decision(each: Decision) -> dict[str, Any]:
    return {
        "at": each.at.isoformat() if each.at else None,
        "by": each.by,
        "owner": each.owner,
        "note": each.note,
        "decision": each.choice.value if each.choice else None,
        "approver": each.approver,
        "due": each.due.isoformat() if each.due else None,
        "overwrites": each.overwrites,
    }


def _show_same_people(found: Sequence[ProbableDuplicate], *, limit: int, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "rule": each.rule,
                    "units": [
                        {"stream": stream, "key": _printable(key)} for stream, key in each.units
                    ],
                }
                for each in found
            ]
        )
        return
    table = plain_table("Patients that may be one person")
    table.add_column("rule", overflow="fold")
    table.add_column("keys", overflow="fold")
    for each in found[:limit]:
        table.add_row(each.rule, Text(", ".join(short_key(key) for _stream, key in each.units)))
    if len(found) > limit:
        table.caption = f"{limit} of {len(found):,} shown; --limit shows more."
    console().print(table if found else "No two patients match by the rules.")
    if found:
        console().print(
            "They are never merged here: merge them at the source, or if they are two people send "
            "them on: migration redeliver KEY."
        )


def _plain_units(each: ProbableDuplicate) -> list[dict[str, str]]:
    return [{"stream": stream, "key": _printable(key)} for stream, key in each.units]


def _printable(key: str) -> str:
    """A key as JSON can hold it: a legacy key may have broken UTF-8 in it."""
    return key.encode(errors="backslashreplace").decode()
