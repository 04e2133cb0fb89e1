"""Settings become what a cutover works with: its plan, its open desk, its final report.

Belongs here: assembly for the CLI, the Dagster job and the demo alike. Does not belong here: the
steps and their order (``switching.cutover``), or printing.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from migration_assets.connections import PIPELINE_VERSION, Connections
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping as FhirMapping
from migration_assets.profiling.register import read_by_the_puller
from migration_assets.settings import Settings
from migration_assets.signoff.page import write_report
from migration_assets.signoff.report import Wanted, make_report
from migration_assets.signoff.withholding import Withholding
from migration_assets.switching.cutover.desk import Desk
from migration_assets.switching.cutover.plan import Plan

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
            report=lambda mapping: final_report(connections, run.manifest, mappings, mapping),
        )


def final_report(
    connections: Connections,
    manifest: Manifest,
    mappings: Sequence[FhirMapping[Any]],
    mapping: FhirMapping[Any],
) -> Mapping[str, Any]:
    """Write the report of a mapping's types as final evidence; where it is, and its hash."""
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
    folder = _folder(settings.cutover_reports / mapping.resource_type)
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
