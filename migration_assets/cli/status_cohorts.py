"""The cohorts of types below their balance: where each stands, how many rows, what was left out.

Belongs here: the lines and the JSON. Does not belong here: gates (``standings``).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.cli.output import console
from migration_assets.counting import several, verb
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping


@dataclass(frozen=True)
class Line:
    """One cohort of a type; ``cohort`` empty: what is in none."""

    type: str
    cohort: str
    terms: str
    phase: str
    rows: int
    left_out: int


def cohort_lines(
    manifest: Manifest, mappings: Iterable[Mapping[Any]], adoption: Adoption
) -> list[Line]:
    """Each part of the types that have cohorts; rows as they were last told to be in it."""
    made: list[Line] = []
    for each in mappings:
        standing = adoption.standing(each.resource_type)
        if not standing.cohorts:
            continue
        balances = manifest.cohorts.balances(each.stream, standing.declaration)
        refused = manifest.cohorts.left_out(each.stream)
        for cohort in (*standing.cohorts, None):
            name = "" if cohort is None else cohort.name
            made.append(
                Line(
                    each.resource_type,
                    name,
                    "" if cohort is None else str(cohort.terms),
                    standing.of(cohort).phase.value,
                    balances[name].eligible if name in balances else 0,
                    sum(number for (_why, one), number in refused.items() if one == name),
                )
            )
    return made


def plain(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """For machines."""
    return [asdict(each) for each in lines]


def print_lines(lines: Iterable[Line]) -> None:
    """For people."""
    listed = list(lines)
    for each in listed:
        part = f"cohort {each.cohort} ({each.terms})" if each.cohort else "in no cohort"
        out = f"{several(each.left_out, 'row')} {verb(each.left_out, 'is', 'are')} left out for it"
        told = f"{each.type}, {part}: phase {each.phase}, {several(each.rows, 'row')}"
        console().print(told + (f"; {out}." if each.left_out else "."), markup=False)
    untold = {each.type for each in listed} - {each.type for each in listed if each.rows}
    for kind in sorted(untold):
        console().print(f"Nobody is in a cohort of {kind} yet: `migration phase {kind}` tells who.")
