"""``migration report``: what became of every row, for those who sign for it."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from migration_assets.adoption import Phase
from migration_assets.adoption.gates import Discrepancy
from migration_assets.cli.choosing import streams
from migration_assets.cli.output import console, print_json
from migration_assets.connections import PIPELINE_VERSION, Connections
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.profiling.register import read_by_the_puller
from migration_assets.settings import read_settings
from migration_assets.signoff.page import write_report
from migration_assets.signoff.report import Wanted, make_report
from migration_assets.signoff.values import Report
from migration_assets.signoff.withholding import Withholding
from migration_assets.switching.audit import audit

_SEEDS = 1_000_000
_SALT_BYTES = 32


def report(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where both files go.")] = Path("report"),
    types: Annotated[
        list[str] | None, typer.Option("--type", help="A FHIR type; all by default.")
    ] = None,
    patients: Annotated[
        int, typer.Option(min=0, max=200, help="How many to review of each kind of choice.")
    ] = 4,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the lot; by default one is drawn, and told.")
    ] = None,
    with_patient_data: Annotated[  # noqa: FBT002 - typer's way
        bool, typer.Option("--with-patient-data", help="Show rows and records as they are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Write the sign-off report: one HTML file that opens anywhere, and JSON beside it.

    It reads the account alone. Without --with-patient-data no value of a row is in it and keys are
    short hashes. Exit 1 if anything in it needs a person.
    """
    settings = read_settings()
    connections = Connections(settings)
    known = streams(settings)
    source = connections.source() if settings.source is not None else None
    puller = (
        {}
        if source is None
        else {
            each.stream: read_by_the_puller(source.stream(each.stream)) for each in known.mappings
        }
    )
    names = Withholding(with_patient_data, secrets.token_bytes(_SALT_BYTES))
    with connections.manifest() as manifest:
        made = make_report(
            manifest,
            Wanted(
                mappings=known.named(types or ()),
                every=known.mappings,
                adoption=connections.adoption(),
                names=names,
                seed=secrets.randbelow(_SEEDS) if seed is None else seed,
                of_each=patients,
                start=settings.start,
                now=connections.clock(),
                pipeline_version=PIPELINE_VERSION,
                encrypted=bool(settings.keys),
                puller=puller,
                agreement=_agreement(manifest, connections, known.mappings),
            ),
        )
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Permanent(f"Creating the folder {out.name} failed: {error.strerror}.") from error
    page, values = write_report(made, out)
    if as_json:
        needs = [{"told": each.told, "count": each.count} for each in made.needs]
        print_json({"page": str(page), "json": str(values), "needs": needs})
    else:
        _print(made, page, values)
    if made.needs_a_person:
        raise typer.Exit(1)


def _agreement(
    manifest: Manifest, connections: Connections, mappings: Sequence[Mapping[Any]]
) -> dict[str, Discrepancy]:
    """What services wrote beside the puller, since the types that they write entered dual_write."""
    adoption = connections.adoption()
    found = {}
    for each in mappings:
        moved = (
            one.applied_at
            for one in manifest.switching.changes(each.resource_type)
            if one.becomes == Phase.DUAL_WRITE and one.cohort is None
        )
        since = next((at for at in moved if at is not None), None)
        if since is not None:
            found[each.resource_type] = audit(manifest, None, adoption, each, since=since)
    return found


def _print(made: Report, page: Path, values: Path) -> None:
    out = console()
    out.print(f"Written: {page}, {values}", markup=False)
    if made.with_patient_data:
        out.print(
            "They hold patient data. They are readable by you alone: keep it so.", style="red"
        )
    if made.charts is not None:
        out.print(f"Patients: {len(made.charts.charts)}, drawn with --seed {made.charts.seed}.")
    for each in made.needs:
        out.print(f"! {each.told} ({each.count:,})", markup=False)
    if not made.needs:
        out.print("Nothing in it needs a person.")
