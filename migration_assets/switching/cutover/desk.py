"""What a cutover works with: the account, both systems, who is to be told; and one case of it.

Belongs here: the parts, and which of them are seams. Does not belong here: opening them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from migration_assets.adoption import Adoption, Cohort, Phase, Standing
from migration_assets.adoption.cohorts import Terms
from migration_assets.adoption.flags import flags as flags_of
from migration_assets.adoption.gates import Bounds
from migration_assets.errors import Permanent
from migration_assets.legacy import Source, Stream
from migration_assets.manifest import Manifest
from migration_assets.manifest.cutovers import Cutover, Look
from migration_assets.mapping import Mapping as FhirMapping
from migration_assets.medplum import Fhir
from migration_assets.run import Run
from migration_assets.switching.cutover.plan import CutoverStep, Plan
from migration_assets.switching.cutover.progress import Standing as Progress
from migration_assets.switching.evidence import Witnesses
from migration_assets.switching.parts import Part
from migration_assets.switching.publishing import publish


class TakesBack(Protocol):
    """Writes into the legacy system what was written in Medplum."""

    def takes(self, mapping: FhirMapping[Any]) -> bool:
        """Whether a reverse mapping of these types is declared."""

    def take_back(self, mapping: FhirMapping[Any]) -> Mapping[str, int]:
        """Do it; how many changes came to what."""

    def open(self, part: Part) -> int:
        """Changes in Medplum that are not settled in the legacy system."""

    def refused(self, part: Part) -> int:
        """Those of them that nobody will settle but a person: conflicts and refusals."""


class Nothing:
    """Where nothing can be taken back."""

    def takes(self, mapping: FhirMapping[Any]) -> bool:  # noqa: ARG002 - a seam
        """No."""
        return False

    def take_back(self, mapping: FhirMapping[Any]) -> Mapping[str, int]:  # noqa: ARG002
        """Nothing."""
        return {}

    def open(self, part: Part) -> int:  # noqa: ARG002
        """None that is known."""
        return 0

    def refused(self, part: Part) -> int:  # noqa: ARG002
        """None that is known."""
        return 0


def _none_waits(_streams: Sequence[str]) -> int:
    return 0


def _no_report(_mapping: FhirMapping[Any], _cohort: str | None) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everything one cutover is advanced with.

    ``adoption`` is read anew each time: a step changes it. ``report`` writes the final report (of a
    cohort, if it is named) and tells its place and hash. ``inbox_waiting`` counts accepted events
    that are still pending.
    """

    run: Run
    source: Source
    clock: Callable[[], datetime]
    adoption: Callable[[], Adoption]
    adoption_path: Path | None
    bounds: Bounds
    mappings: Sequence[FhirMapping[Any]]
    flags_out: Path | None = None
    takes_back: TakesBack = field(default_factory=Nothing)
    pipeline_version: str = "0"
    inbox_waiting: Callable[[Sequence[str]], int] = _none_waits
    report: Callable[[FhirMapping[Any], str | None], Mapping[str, Any]] = _no_report

    @property
    def manifest(self) -> Manifest:
        """The account."""
        return self.run.manifest

    @property
    def fhir(self) -> Fhir:
        """The Medplum project.

        Raises:
            Permanent: none is set.
        """
        if self.run.fhir is None:
            raise Permanent(
                "A cutover asks and writes Medplum: set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and "
                "MEDPLUM_CLIENT_SECRET."
            )
        return self.run.fhir

    @property
    def phases(self) -> Path:
        """adoption.toml.

        Raises:
            Permanent: none is set.
        """
        if self.adoption_path is None:
            raise Permanent("No adoption.toml is set: point MIGRATION_ADOPTION at one.")
        return self.adoption_path

    def described(self, mapping: FhirMapping[Any]) -> Stream:
        """The stream that a mapping's rows come from."""
        return self.source.stream(mapping.stream)

    def witnesses(self) -> Witnesses:
        """Where a gate's evidence comes from."""
        return Witnesses(
            manifest=self.manifest,
            adoption=self.adoption(),
            clock=self.clock,
            bounds=self.bounds,
            fhir=lambda: self.run.fhir,
            puller=lambda: self.run.puller,
            source=self.source,
        )

    def publish(self, adoption: Adoption, *, by: str) -> dict[str, str]:
        """Tell front ends what these phases mean for them; how that went, by place.

        Raises:
            Transient, Permanent: as ``publishing.publish``.
        """
        kinds = [kind for each in self.mappings for kind in each.types]
        told = publish(self.manifest, self.fhir, self.flags_out, flags_of(adoption, kinds), by=by)
        return {f"flags_{place}": how["event"] for place, how in told.items()}


@dataclass(frozen=True, kw_only=True)
class Word:
    """Who advances a cutover. ``forced``, with a reason: past a shut gate, in spite of an alarm."""

    by: str
    reason: str | None = None
    forced: bool = False
    approved_by: str | None = None


def rows_meant(declared: Standing, cohort: str | None) -> str:
    """By which terms rows are in a part of a type; empty where it has no cohorts.

    Raises:
        Permanent: no cohort of that name is declared.
    """
    if cohort is None:
        return declared.declaration if declared.cohorts else ""
    found = declared.cohort(cohort)
    if found is None:
        known = ", ".join(each.name for each in declared.cohorts) or "none"
        raise Permanent(
            f"No cohort {cohort} is declared in adoption.toml for the type. Declared: {known}."
        )
    return orjson.dumps(found.terms.as_json(), option=orjson.OPT_SORT_KEYS).decode()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cutover as it stands when it is looked at."""

    desk: Desk
    mapping: FhirMapping[Any]
    cutover: Cutover
    plan: Plan
    standing: Progress
    word: Word

    @property
    def kind(self) -> str:
        """The type that commands are told."""
        return self.mapping.resource_type

    @property
    def streams(self) -> tuple[str, ...]:
        """Where something may arrive for the types: their own stream, and FHIR from services."""
        return (self.mapping.stream, *(f"fhir/{each}" for each in self.mapping.types))

    @property
    def name(self) -> str:
        """What is cut over, for people."""
        return self.cutover.name

    @property
    def command(self) -> str:
        """What goes on with it."""
        cohort = self.cutover.cohort
        return f"migration cutover {self.kind}" + (f" --cohort {cohort}" if cohort else "")

    @property
    def declared(self) -> Standing:
        """Where the types stand, as adoption.toml says it now."""
        return self.desk.adoption().standing(self.kind)

    @property
    def cohort(self) -> Cohort | None:
        """The cohort that is cut over, as it is declared now.

        Raises:
            Permanent: other rows are meant by now than when the cutover began.
        """
        declared, name = self.declared, self.cutover.cohort
        if rows_meant(declared, name) != self.plan.part:
            raise Permanent(
                f"Which rows are in the cohorts of {self.kind} was changed in adoption.toml since "
                f"the cutover of {self.name} began: other rows would be handed over than those "
                "that were looked at. Put the terms back, or --abort it and begin anew."
            )
        return None if name is None else declared.cohort(name)

    @property
    def phase(self) -> Phase:
        """The phase of what is cut over, as adoption.toml says it now."""
        return self.declared.of(self.cohort).phase

    @property
    def terms(self) -> Terms:
        """Which rows a comparison is of; empty: all of the type."""
        return self.cohort.terms if self.cohort is not None else Terms()

    def part(self) -> Part:
        """Its rows; everybody on account is told apart first, as far as that can be."""
        return Part(self.desk.manifest, self.mapping, self.declared, self.cohort)

    def landings(self) -> int:
        """Moves with whatever lands for it, by whomever."""
        return self.part().landings(self.streams)

    @contextmanager
    def run(self) -> Iterator[Run]:
        """What is delivered with: of a type with cohorts a run of its own.

        Another of them may have been moved since ours began, which is outdated by that.
        """
        run, manifest = self.desk.run, self.desk.manifest
        if not self.declared.cohorts:
            yield run
            return
        number = manifest.start_run(run.label, pipeline_version=self.desk.pipeline_version)
        yield replace(run, id=number, adoption=self.desk.adoption())
        manifest.finish_run(number)

    def looks(self, step: CutoverStep) -> tuple[Look, ...]:
        """The looks at a step that still count."""
        return self.standing.of(step).looks
