"""How comparisons with Medplum are shown: tables for people, JSON for machines.

Belongs here: printing. Does not belong here: comparing, or the verb (``reconcile``).
"""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from migration_assets.cli.output import console, plain_table, print_json, short_key
from migration_assets.counting import several
from migration_assets.manifest.reconciliations import Finding, Reconciliation
from migration_assets.operations.repairing import Repaired
from migration_assets.reconciliation.findings import Comparison, Kind

_NEXT = {
    Kind.MISSING: "deliver it again: --repair missing (identifier-lost: decide in Medplum)",
    Kind.UNEXPECTED: "somebody else writes under our identifier system: find out who",
    Kind.DUPLICATE: "--repair duplicates where the surplus is provably ours; else merge in Medplum",
    Kind.OTHER_ID: "somebody replaced ours: decide in Medplum which one stays",
    Kind.STILL_FOUND: "deleted at the source, written again by somebody: find out who",
    Kind.CHANGED: "edited in Medplum: decide who is right (migration exceptions)",
    Kind.REFERENCE_MISSING: "--repair references",
    Kind.REFERENCE_WRONG: "--repair references",
    Kind.REFERENCE_DANGLING: "its target is missing: reconcile that type",
}


def print_comparisons(made: Sequence[Comparison]) -> None:
    """What was compared, what differs, and what it cost."""
    out = console()
    out.print(_table([each.evidence for each in made], "Medplum beside the account"))
    found = [each for one in made for some in one.examples.values() for each in some]
    if found:
        out.print(_findings(found))
        out.print("`migration reconcile --list` shows the evidence; all findings are on account.")
    points = sum(each.evidence.points for each in made)
    resources = sum(each.evidence.found for each in made)
    per = points / resources if resources else 0.0
    agree = "Everything agrees" if all(each.agrees for each in made) else "Something differs"
    out.print(
        f"{agree}. It cost {several(points, 'quota point')}, {per:.3f} per resource looked at."
    )


def _table(evidence: Sequence[Reconciliation], title: str, *, dated: bool = False) -> Table:
    table = plain_table(title)
    for name in (("number", "started") if dated else ()) + ("type", "checked"):
        table.add_column(name, no_wrap=True)
    parts = any(each.scope for each in evidence)
    if parts:
        table.add_column("of", overflow="fold")
    for name in ("on account", "found", "points"):
        table.add_column(name, justify="right")
    table.add_column("findings", overflow="fold")
    table.add_column("besides", overflow="fold")
    for each in evidence:
        began = (str(each.id), f"{each.started_at:%Y-%m-%d %H:%M}") if dated else ()
        counts = ", ".join(f"{n:,} {kind}" for kind, n in each.counts.items() if n)
        notes = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in each.notes.items())
        verdict = counts or ("none" if each.finished_at else "cut off")
        table.add_row(
            *began,
            each.resource_type,
            each.checked,
            *((_part(each),) if parts else ()),
            f"{each.expected:,}",
            f"{each.found:,}",
            f"{each.points:,}",
            f"[{'green' if each.agrees else 'red'}]{verdict}[/]",
            notes,
        )
    return table


def _part(each: Reconciliation) -> str:
    """Which part of the type was compared."""
    named = (f"{name.replace('_', ' ')} {value}" for name, value in each.scope.items())
    return ", ".join(named) or "the whole type"


def _findings(found: Sequence[Finding]) -> Table:
    table = plain_table("What differs, and what to do (some of each kind)")
    for name in ("type", "finding", "key", "at", "why", "then"):
        table.add_column(name, overflow="fold")
    for each in found:
        table.add_row(
            each.token.split("|", 1)[0],
            each.kind,
            short_key(each.key),
            each.path,
            each.reason,
            _NEXT[Kind(each.kind)],
        )
    return table


def plain(made: Sequence[Comparison], repaired: Sequence[Repaired]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "agrees": all(each.agrees for each in made),
        "points": sum(each.evidence.points for each in made),
        "comparisons": [
            {
                **_evidence(each.evidence),
                "examples": [
                    {
                        "kind": one.kind,
                        "reason": one.reason,
                        "key": one.key,
                        "id": one.fhir_id,
                        "path": one.path,
                        "expected": one.expected,
                        "found": one.found,
                    }
                    for some in each.examples.values()
                    for one in some
                ],
            }
            for each in made
        ],
        "repaired": [
            {"repair": each.repair.value, "done": each.done, "left_alone": dict(each.left)}
            for each in repaired
        ],
    }


def print_repaired(repaired: Sequence[Repaired], *, act: bool) -> None:
    """What was repaired, or would be, and what was left alone and why."""
    out = console()
    for each in repaired:
        word = "Repaired" if act else "Would repair"
        out.print(f"{word} {each.repair.value}: {each.done:,}")
        for reason, number in sorted(each.left.items()):
            out.print(f"  left alone, {reason}: {number:,}")
    if not act and any(each.done for each in repaired):
        out.print("Nothing was written to Medplum. Add --yes to do it.")


def _evidence(each: Reconciliation) -> dict[str, Any]:
    return {
        "number": each.id,
        "type": each.resource_type,
        "checked": each.checked,
        "scope": dict(each.scope),
        "query": each.query,
        "mapping_version": each.mapping_version,
        "started": each.started_at.isoformat(),
        "finished": each.finished_at and each.finished_at.isoformat(),
        "searches": each.searches,
        "points": each.points,
        "on_account": each.expected,
        "found": each.found,
        "agrees": each.agrees,
        "findings": dict(each.counts),
        "notes": dict(each.notes),
    }


def print_evidence(found: Sequence[Reconciliation], *, as_json: bool) -> None:
    """Earlier comparisons, the latest first."""
    if as_json:
        print_json([_evidence(each) for each in found])
    elif found:
        console().print(_table(found, "Comparisons with Medplum, the latest first", dated=True))
    else:
        console().print("Nothing was compared yet: migration reconcile")
