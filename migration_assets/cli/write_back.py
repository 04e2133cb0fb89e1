"""``migration write-back [TYPE]``: bring what was changed in Medplum to the legacy system."""

import getpass
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Mapping_
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from migration_assets.cli.choosing import streams
from migration_assets.cli.output import console, plain_table, print_json, short_key
from migration_assets.connections import PIPELINE_VERSION, Connections
from migration_assets.counting import several
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import MigrationError, Permanent
from migration_assets.manifest import Manifest
from migration_assets.manifest.write_back_ends import Choice, Debt, WriteBack
from migration_assets.mapping import Mapping
from migration_assets.operations.writing_back import Parts, foresee, hindrance
from migration_assets.operations.writing_back import write_back as bring_back
from migration_assets.settings import read_settings

_SHOWN = 50
_UNSETTLED = (WriteBack.OPEN, WriteBack.CONFLICT, WriteBack.REFUSED)


@dataclass(frozen=True)
class _Finding:
    """What a run did for one type; ``error`` says why it did nothing, or not all."""

    resource_type: str
    noted: int
    total: dict[str, int]
    error: str | None = None
    would: Mapping_[tuple[str, str], int] | None = None
    """In a dry run: new changes by the state and the reason they would end with."""


def write_back(
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE]...", help="FHIR types; all by default.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,  # noqa: FBT002 - typer's way
    since: Annotated[
        datetime | None,
        typer.Option(help="When Medplum became the owner, if `migration phase` did not do it."),
    ] = None,
    decide: Annotated[
        int | None, typer.Option(metavar="N", help="The number of a change to decide about.")
    ] = None,
    choice: Annotated[
        Choice | None,
        typer.Option(help="Of a conflict: medplum or legacy. Of one refused: retry or accept."),
    ] = None,
    note: Annotated[str | None, typer.Option(help="Why. No patient data.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Write what was changed in Medplum after the flip to the legacy system.

    For types in phase write whose mapping has a way back and whose stream says how rows are
    written. What both sides edited, or what the row cannot say, waits for a person (--decide N).
    Exit 1: something is open, in conflict or refused.
    """
    settings = read_settings()
    connections = Connections(settings, before_use=before_use)
    chosen = streams(settings).named(types or [])
    with connections.manifest() as manifest:
        if decide is not None:
            _decide(manifest, decide, choice, note)
            return
        findings = _bring_back(connections, manifest, chosen, since, named=bool(types), dry=dry_run)
        kinds = [kind for each in chosen for kind in each.types]
        waiting = [
            debt
            for kind in kinds
            for debt in manifest.write_backs.listed(kind, _UNSETTLED, limit=_SHOWN)
        ]
    _show(findings, waiting, as_json=as_json)
    if waiting or any(each.error for each in findings):
        raise typer.Exit(1)


def _bring_back(
    connections: Connections,
    manifest: Manifest,
    chosen: Iterable[Mapping[Any]],
    since: datetime | None,
    *,
    named: bool,
    dry: bool,
) -> list[_Finding]:
    fhir = connections.medplum(manifest)
    if fhir is None:
        raise Permanent(
            "Write-back asks Medplum what was changed there: set MEDPLUM_BASE_URL, "
            "MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET."
        )
    label = "migration write-back"
    run_id = 0 if dry else manifest.start_run(label, pipeline_version=PIPELINE_VERSION)
    with closing(fhir), closing(connections.puller(manifest)) as puller:
        parts = Parts(
            manifest=manifest,
            fhir=fhir,
            adoption=connections.adoption(),
            legacy=puller,
            run_id=run_id,
            deadline_seconds=connections.settings.deadline_seconds,
            since=None if since is None else since.astimezone(),
        )
        due = [each for each in chosen if named or not hindrance(parts, each)]
        findings = [_finding(parts, each, dry=dry) for each in due]
    if not dry:
        manifest.finish_run(run_id)
    return findings


def _finding(parts: Parts, mapping: Mapping[Any], *, dry: bool) -> _Finding:
    account = _counted(parts.manifest, mapping)
    try:
        if dry:
            would = foresee(parts, mapping)
            return replace(account, noted=would.total(), would=dict(would))
        done = bring_back(parts, mapping)
    except MigrationError as error:
        return replace(account, error=str(error))
    return replace(_counted(parts.manifest, mapping), noted=done.noted)


def _counted(manifest: Manifest, mapping: Mapping[Any]) -> _Finding:
    counts = manifest.write_backs.counts(mapping.types)
    total = {
        state.value: sum(each.get(state, 0) for each in counts.values()) for state in WriteBack
    }
    return _Finding(mapping.resource_type, 0, total)


def _decide(manifest: Manifest, number: int, choice: Choice | None, note: str | None) -> None:
    debt = manifest.write_backs.get(number)
    if debt is None:
        raise Permanent(f"There is no change numbered {number}: `migration write-back --dry-run`.")
    fitting = {
        WriteBack.CONFLICT: (Choice.MEDPLUM, Choice.LEGACY),
        WriteBack.REFUSED: (Choice.RETRY, Choice.ACCEPT),
    }.get(debt.state, ())
    if choice is None or choice not in fitting:
        raise Permanent(
            f"Change {number} is {debt.state}: "
            + (f"choose {' or '.join(fitting)} with --choice." if fitting else "it is not open.")
        )
    if not manifest.write_backs.decide(debt, choice, by=getpass.getuser(), note=note):
        raise Permanent(f"Change {number} was decided or written meanwhile. Look again.")
    console().print(f"Change {number}: {choice} was written down.")


def _show(findings: Sequence[_Finding], waiting: Sequence[Debt], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "types": [
                    {
                        "type": each.resource_type,
                        "seen": sum(each.total.values()),
                        "new": each.noted,
                        **each.total,
                        "would_be": None
                        if each.would is None
                        else [
                            {"state": state, "reason": reason, "changes": number}
                            for (state, reason), number in sorted(each.would.items())
                        ],
                        "error": each.error,
                    }
                    for each in findings
                ],
                "waiting": [
                    {
                        "number": each.id,
                        "type": each.resource_type,
                        "kind": each.kind,
                        "state": each.state,
                        "reason": each.reason,
                        "at": each.field,
                        "key": each.key,
                        "versions": list(each.versions),
                    }
                    for each in waiting
                ],
            }
        )
        return
    out = console()
    out.print(_table(findings))
    for each in findings:
        if each.error:
            out.print(each.error, style="red")
        for (state, reason), number in sorted((each.would or {}).items()):
            why = f" ({reason})" if reason else ""
            changes = several(number, "change", "changes")
            out.print(f"{each.resource_type}: {changes} would be {state}{why}.")
    if waiting:
        out.print(_waiting(waiting))


def _table(findings: Sequence[_Finding]) -> Table:
    table = plain_table("Changes made in Medplum after the flip")
    table.add_column("type", no_wrap=True)
    for name in ("seen", *WriteBack):
        table.add_column(name, justify="right")
    for each in findings:
        numbers = (sum(each.total.values()), *(each.total.get(name, 0) for name in WriteBack))
        table.add_row(each.resource_type, *(f"{n:,}" if n else "·" for n in numbers))
    if not findings:
        table.caption = "No type is in phase write with a way back (docs/write-back.md)."
    return table


def _waiting(debts: Sequence[Debt]) -> Table:
    table = plain_table("What waits, and why")
    for name in ("n", "type", "what", "state", "reason"):
        table.add_column(name, no_wrap=True)
    table.add_column("at", overflow="fold")
    table.add_column("key", overflow="fold")
    for each in debts:
        table.add_row(
            str(each.id),
            each.resource_type,
            each.kind,
            each.state,
            each.reason or "",
            each.field or "",
            short_key(each.key or ""),
        )
    return table
