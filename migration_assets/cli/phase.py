"""``migration phase``: where each type stands, and the controlled step to the next phase."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from migration_assets.adoption import Adoption, Cohort, Phase, Standing
from migration_assets.adoption.flags import flags as flags_of
from migration_assets.adoption.gates import Evidence, Point, gate
from migration_assets.adoption.steps import Step
from migration_assets.cli.choosing import speaker
from migration_assets.cli.output import console, print_json
from migration_assets.cli.standings import lines, show
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import MigrationError, Permanent
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.medplum import Fhir
from migration_assets.settings import read_settings
from migration_assets.switching.changing import Move, carry_out, move, refuse
from migration_assets.switching.evidence import Witnesses, evidence
from migration_assets.switching.publishing import publish


@dataclass(frozen=True)
class Desk:
    """What this command works with, the things outside opened when they are first needed."""

    connections: Connections
    manifest: Manifest
    adoption: Adoption
    mappings: tuple[Mapping[Any], ...]
    opened: ExitStack
    _fhir: list[Fhir | None] = field(default_factory=list)

    def fhir(self) -> Fhir | None:
        """The Medplum project, if one is set."""
        if not self._fhir:
            client = self.connections.medplum(self.manifest)
            self._fhir.append(client and self.opened.enter_context(closing(client)))
        return self._fhir[0]

    def witnesses(self, *, looks_again: bool = True) -> Witnesses:
        """Where evidence comes from; ``looks_again``: Medplum is searched for what is new."""
        source = self.connections.settings.source
        return Witnesses(
            manifest=self.manifest,
            adoption=self.adoption,
            clock=self.connections.clock,
            bounds=self.connections.bounds,
            fhir=self.fhir,
            puller=(
                lambda: self.opened.enter_context(closing(self.connections.puller(self.manifest)))
            )
            if source
            else None,
            source=self.connections.source() if source else None,
            looks_again=looks_again,
        )


@dataclass(frozen=True)
class _Manner:
    """How a type is moved: by whom, past what and why, with whom told."""

    by: str
    forced: bool
    reason: str | None
    publishes: bool
    say: Callable[[str], None]


def phase(  # noqa: PLR0913, PLR0917 - a command has its options
    resource_type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="The FHIR type to move.")
    ] = None,
    becomes: Annotated[
        Phase | None, typer.Argument(metavar="[PHASE]", help="The phase it is to be in.")
    ] = None,
    cohort: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this cohort of it, as adoption.toml names it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")] = False,  # noqa: FBT002 - typer's way
    force: Annotated[bool, typer.Option("--force", help="Past a shut gate, or back.")] = False,  # noqa: FBT002
    reason: Annotated[str | None, typer.Option(help="Why; kept. Needed by --force.")] = None,
    by: Annotated[str | None, typer.Option(help="Who does it; default: you.")] = None,
    no_publish: Annotated[  # noqa: FBT002
        bool, typer.Option("--no-publish", help="Do not publish the flags.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Show every type's phase and what its exit gate says, or move a type to another phase.

    Types that are written together move together. Cohorts of a type move by themselves: without
    --cohort only that moves which is in none. Exit 1: the gate is shut.
    """
    settings = read_settings()
    connections = Connections(settings, before_use=before_use)
    mappings = tuple(mappings_of(settings).values())
    with connections.manifest() as manifest, ExitStack() as opened:
        desk = Desk(connections, manifest, connections.adoption(), mappings, opened)
        if resource_type is None:
            show(lines(desk), as_json=as_json)
            return
        mapping = _mapping(mappings, resource_type)
        standing = desk.adoption.standing(mapping.resource_type)
        part = _cohort(standing, resource_type, cohort)
        was = standing.of(part).phase
        found = _evidence(desk, mapping, part, force=force)
        if becomes is None:
            points = gate(was, mapping.resource_type, found, connections.bounds)
            _show_gate(mapping, part, was, points, as_json=as_json)
            return
        asked = move(mapping, standing, becomes, found, connections.bounds, part)
        if not as_json:
            _show_gate(mapping, part, was, asked.points, as_json=False)
        if not yes or not (asked.open or force):
            _ask(asked, force=force, as_json=as_json)
            return
        refuse(asked, force=force, reason=reason)
        manner = _Manner(speaker(by), force, reason, not no_publish, _quiet if as_json else _say)
        _move(desk, asked, manner)
    if as_json:
        print_json(_plain_move(asked, done=True))


def _cohort(standing: Standing, resource_type: str, name: str | None) -> Cohort | None:
    found = None if name is None else standing.cohort(name)
    if name is not None and found is None:
        known = ", ".join(each.name for each in standing.cohorts) or "none"
        raise Permanent(
            f"{resource_type} has no cohort {name}. Declared in adoption.toml: {known} "
            f"([{resource_type}.cohorts.{name}], with its terms and a phase)."
        )
    return found


def _evidence(desk: Desk, mapping: Mapping[Any], cohort: Cohort | None, *, force: bool) -> Evidence:
    """What is known; a way back is open with --force even where nobody can be asked any more."""
    try:
        return evidence(desk.witnesses(), mapping, cohort)
    except MigrationError as error:
        if not force:
            raise
        _say(f"The evidence could not be read: {error}")
        return Evidence(now=desk.connections.clock(), since=None)


def _move(desk: Desk, asked: Move, manner: _Manner) -> None:
    """Move, and tell front ends: on the way back they are told first, to stop writing there."""
    path = desk.connections.settings.adoption
    if path is None:
        raise Permanent("No adoption.toml is set: point MIGRATION_ADOPTION at one.")
    name = None if asked.cohort is None else asked.cohort.name
    after = desk.adoption.with_phase(asked.mapping.types, asked.becomes, cohort=name)
    kinds = [each for one in desk.mappings for each in one.types]

    def told() -> bool:
        out, flags = desk.connections.settings.flags, flags_of(after, kinds)
        try:
            publish(desk.manifest, desk.fhir(), out, flags, by=manner.by)
        except MigrationError as error:
            manner.say(f"Front ends were not told: {error} `migration flags` tells them.")
            return False
        return True

    back = asked.step is Step.BACK
    well = told() if manner.publishes and back else True
    carry_out(desk.manifest, path, asked, by=manner.by, forced=manner.forced, reason=manner.reason)
    manner.say(f"{asked.kinds}: {asked.was} → {asked.becomes}, written down.")
    well = told() if manner.publishes and not back else well
    if not well:
        raise typer.Exit(1)


def _ask(asked: Move, *, force: bool, as_json: bool) -> None:
    """Say what would be done, and what it takes."""
    if as_json:
        print_json(_plain_move(asked, done=False))
    elif asked.open:
        _say(f"The gate is open. --yes moves {asked.kinds} to {asked.becomes}.")
    elif not force and asked.step is Step.NEXT:
        _say('The gate is shut. --force --reason "…" does it all the same.')
    elif not force:
        try:
            refuse(asked, force=False, reason=None)
        except Permanent as error:
            _say(str(error))
    else:
        _say(f"Forced, in spite of all this: --yes with --reason moves it to {asked.becomes}.")
    if not asked.open and not force:
        raise typer.Exit(1)


def _mapping(mappings: tuple[Mapping[Any], ...], resource_type: str) -> Mapping[Any]:
    for each in mappings:
        if resource_type in each.types:
            return each
    known = ", ".join(kind for each in mappings for kind in each.types)
    raise Permanent(f"No mapping makes {resource_type}. There are: {known}.")


def _show_gate(
    mapping: Mapping[Any],
    cohort: Cohort | None,
    phase: Phase,
    points: tuple[Point, ...],
    *,
    as_json: bool,
) -> None:
    if as_json:
        gate_ = [{"holds": one.holds, "said": one.said, "mend": one.mend} for one in points]
        name = None if cohort is None else cohort.name
        print_json(
            {"types": list(mapping.types), "cohort": name, "phase": phase.value, "gate": gate_}
        )
        return
    part = "" if cohort is None else f", cohort {cohort.name} ({cohort.terms}),"
    _say(f"{' and '.join(mapping.types)}{part} in phase {phase}; to leave it:")
    for each in points:
        _say(f"  {'✓' if each.holds else '✗'} {each.said}")
        if not each.holds:
            _say(f"      {each.mend}")
    if not points:
        _say("  nothing comes after it")


def _plain_move(asked: Move, *, done: bool) -> dict[str, Any]:
    return {
        "types": list(asked.mapping.types),
        "cohort": None if asked.cohort is None else asked.cohort.name,
        "was": asked.was.value,
        "becomes": asked.becomes.value,
        "step": asked.step.value,
        "open": asked.open,
        "done": done,
        "gate": [{"holds": one.holds, "said": one.said, "mend": one.mend} for one in asked.points],
        "evidence": dict(asked.evidence.as_json()),
    }


def _say(text: str) -> None:
    console().print(text, markup=False)


def _quiet(_text: str) -> None:
    """Machines get their JSON, and nothing beside it."""
