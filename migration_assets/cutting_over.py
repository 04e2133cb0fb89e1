"""Settings become what a cutover works with: its plan, its open desk, its final report.

Belongs here: assembly for the CLI, the Dagster job and the demo alike. Does not belong here: the
steps and their order (``switching.cutover``), or printing.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration_assets.connections import PIPELINE_VERSION, Connections
from migration_assets.errors import Permanent
from migration_assets.legacy import Puller
from migration_assets.manifest import Manifest
from migration_assets.manifest.write_back_ends import WriteBack
from migration_assets.mapping import Mapping as FhirMapping
from migration_assets.operations.writing_back import Parts, hindrance, write_back
from migration_assets.profiling.register import read_by_the_puller
from migration_assets.run import Run
from migration_assets.settings import Settings
from migration_assets.signoff.page import write_report
from migration_assets.signoff.report import Wanted, make_report
from migration_assets.signoff.withholding import Withholding
from migration_assets.switching.cutover.desk import Desk
from migration_assets.switching.cutover.plan import Plan
from migration_assets.switching.parts import Part

_PATIENTS = 4
_SEEDS = 1_000_000
_SALT_BYTES = 32


def plan_of(settings: Settings, *, owner: str) -> Plan:
    """What a cutover that begins now declares."""
    return Plan(
        owner=owner,
        polls=settings.cutover_quiet_polls,
        quiet_seconds=settings.cutover_quiet_seconds,
        observe_seconds=round(settings.cutover_observe_hours * 3600),
        sample=settings.cutover_sample,
        exceptions_share=settings.exceptions_share,
    )


def mapping_named(mappings: Sequence[FhirMapping[Any]], name: str) -> FhirMapping[Any]:
    """The mapping that makes a type.

    Raises:
        Permanent: none does.
    """
    for each in mappings:
        if name in each.types:
            return each
    known = ", ".join(kind for each in mappings for kind in each.types)
    raise Permanent(f"No mapping makes {name}. There are: {known}.")


@dataclass(frozen=True)
class WritesBack:
    """Takes back by reverse mappings; ``run`` is whose connections it uses."""

    connections: Connections
    run: Run

    def takes(self, mapping: FhirMapping[Any]) -> bool:
        """Whether a reverse mapping is declared, and how rows are written."""
        return self.run.fhir is not None and not hindrance(self._parts(self.run.id), mapping)

    def take_back(self, mapping: FhirMapping[Any]) -> Mapping[str, int]:
        """Bring what was changed in Medplum to the legacy system; how many changes came to what.

        A run of its own: the one that flipped the type knows the phase before.
        """
        manifest = self.run.manifest
        number = manifest.start_run(
            f"{self.run.label}: write-back", pipeline_version=PIPELINE_VERSION
        )
        done = write_back(self._parts(number), mapping)
        manifest.finish_run(number)
        return {"noted": done.noted} | {state.value: n for state, n in done.ended.items() if n}

    def open(self, part: Part) -> int:
        """Open ones, and conflicts and refusals that nobody decided about."""
        return self.refused(part) + part.write_backs()[WriteBack.OPEN]

    def refused(self, part: Part) -> int:
        """Conflicts and refusals."""
        found = part.write_backs()
        return found[WriteBack.CONFLICT] + found[WriteBack.REFUSED]

    def _parts(self, number: int) -> Parts:
        fhir, puller = self.run.fhir, self.run.puller
        if fhir is None or not isinstance(puller, Puller):
            raise Permanent("Nothing can be written back: Medplum and a source are needed.")
        return Parts(
            manifest=self.run.manifest,
            fhir=fhir,
            adoption=self.connections.adoption(),
            legacy=puller,
            run_id=number,
            deadline_seconds=self.run.deadline_seconds,
        )


@contextmanager
def desk(
    connections: Connections, mappings: Sequence[FhirMapping[Any]], label: str
) -> Iterator[Desk]:
    """Everything a cutover needs, open for as long as it is advanced."""
    settings = connections.settings
    with connections.run(label) as run:
        yield Desk(
            run=run,
            source=connections.source(),
            clock=connections.clock,
            adoption=connections.adoption,
            adoption_path=settings.adoption,
            bounds=connections.bounds,
            mappings=mappings,
            flags_out=settings.flags,
            takes_back=WritesBack(connections, run),
            inbox_waiting=run.manifest.inbox.waiting,
            pipeline_version=PIPELINE_VERSION,
            report=lambda mapping, cohort: final_report(
                connections, run.manifest, mappings, mapping, cohort
            ),
        )


def final_report(
    connections: Connections,
    manifest: Manifest,
    mappings: Sequence[FhirMapping[Any]],
    mapping: FhirMapping[Any],
    cohort: str | None = None,
) -> Mapping[str, Any]:
    """Write the report of a mapping's types as final evidence; where it is, and its hash.

    That of each ``cohort`` has its own place: the evidence of the one before stays as it was.
    """
    settings, source = connections.settings, connections.source()
    described = {each.stream: source.stream(each.stream) for each in mappings}
    made = make_report(
        manifest,
        Wanted(
            mappings=[mapping],
            every=mappings,
            adoption=connections.adoption(),
            names=Withholding(everything=False, salt=secrets.token_bytes(_SALT_BYTES)),
            seed=secrets.randbelow(_SEEDS),
            of_each=_PATIENTS,
            start=settings.start,
            now=connections.clock(),
            pipeline_version=PIPELINE_VERSION,
            encrypted=bool(settings.keys),
            puller={name: read_by_the_puller(each) for name, each in described.items()},
        ),
    )
    whole = settings.cutover_reports / mapping.resource_type
    folder = _folder(whole if cohort is None else whole / cohort)
    page, _values = write_report(made, folder)
    return {
        "page": str(page),
        "sha256": hashlib.sha256(page.read_bytes()).hexdigest(),
        "needs_a_person": len(made.needs),
    }


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Permanent(f"Creating the folder {path.name} failed: {error.strerror}.") from error
    return path
