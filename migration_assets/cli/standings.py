"""Where every type and every cohort stands, as a table: what ``migration phase`` shows.

Belongs here: the lines and how they are shown. Does not belong here: moving anything (``phase``).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from migration_assets.adoption import Adoption, Cohort, Phase, Standing
from migration_assets.adoption.gates import Point, gate
from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections
from migration_assets.errors import MigrationError
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.switching.evidence import Witnesses, evidence


class Shown(Protocol):
    """What the lines are made from; ``phase.Desk`` is one."""

    @property
    def connections(self) -> Connections:
        """The project."""

    @property
    def manifest(self) -> Manifest:
        """Its account."""

    @property
    def adoption(self) -> Adoption:
        """Its phases."""

    @property
    def mappings(self) -> tuple[Mapping[Any], ...]:
        """Its types, in load order."""

    def witnesses(self, *, looks_again: bool = True) -> Witnesses:
        """Where evidence comes from."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One type's standing, or one cohort's, as it is shown."""

    mapping: Mapping[Any]
    cohort: Cohort | None
    standing: Standing
    since: str
    points: tuple[Point, ...]
    problem: str

    @property
    def authority(self) -> str:
        """Who wins where both sides changed."""
        if self.standing.owned_by_medplum:
            return "medplum"
        return self.standing.authority.value if self.standing.authority else "a person"

    @property
    def strategy(self) -> str:
        """How new resources are created, if any are."""
        return self.standing.strategy.value if self.standing.may_deliver else ""

    @property
    def said(self) -> str:
        """What its gate says."""
        shut = [point.said for point in self.points if not point.holds]
        end = "nothing comes after" if self.standing.phase is Phase.RETIRED else "open"
        return self.problem or (f"shut: {'; '.join(shut)}" if shut else end)


def lines(desk: Shown) -> Iterator[Line]:
    """Every type, its cohorts below it. Medplum is asked only where a gate has no other way."""
    for each in desk.mappings:
        standing = desk.adoption.standing(each.resource_type)
        for cohort in (None, *standing.cohorts):
            yield _line(desk, each, standing, cohort)


def _line(desk: Shown, mapping: Mapping[Any], standing: Standing, cohort: Cohort | None) -> Line:
    part, kind, problem = standing.of(cohort), mapping.resource_type, ""
    points: tuple[Point, ...] = ()
    name = None if cohort is None else cohort.name
    since = desk.manifest.switching.since(kind, part.phase.value, name)
    try:
        found = evidence(desk.witnesses(looks_again=False), mapping, cohort)
        points = gate(part.phase, kind, found, desk.connections.bounds)
    except MigrationError as error:
        problem = str(error)
    return Line(
        mapping=mapping,
        cohort=cohort,
        standing=part,
        since=f"{since:%Y-%m-%d %H:%M}" if since else "by hand",
        points=points,
        problem=problem,
    )


def show(shown: Iterable[Line], *, as_json: bool) -> None:
    """As a table, or as JSON for machines."""
    listed = list(shown)
    if as_json:
        print_json({"types": [_plain(each) for each in listed]})
        return
    table = plain_table("Where each type stands")
    for name in ("type", "phase", "since", "strategy", "who wins", "exit gate"):
        table.add_column(name, no_wrap=name in {"type", "phase"}, overflow="fold")
    for each in listed:
        cohort = each.cohort
        name = ", ".join(each.mapping.types) if cohort is None else f"· {cohort.name}"
        said = each.said if cohort is None else f"({cohort.terms}) {each.said}"
        phase, strategy = each.standing.phase.value, each.strategy or "·"
        table.add_row(name, phase, each.since, strategy, each.authority, said)
    if any(each.cohort for each in listed):
        table.caption = "A type with cohorts below it: what is in none of them."
    console().print(table)


def _plain(each: Line) -> dict[str, Any]:
    return {
        "types": list(each.mapping.types),
        "cohort": None if each.cohort is None else each.cohort.name,
        "terms": {} if each.cohort is None else each.cohort.terms.as_json(),
        "phase": each.standing.phase.value,
        "since": each.since,
        "strategy": each.strategy,
        "authority": each.authority,
        "problem": each.problem,
        "gate": [{"holds": one.holds, "said": one.said, "mend": one.mend} for one in each.points],
    }
