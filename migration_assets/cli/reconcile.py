"""``migration reconcile``: does Medplum hold what the account says, once each, and nothing else?"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from migration_assets.cli.comparisons import (
    plain,
    print_comparisons,
    print_evidence,
    print_repaired,
)
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.counting import several
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.medplum import MedplumClient
from migration_assets.operations.repairing import KINDS, Repair, Repaired, repair
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.findings import Comparison
from migration_assets.reconciliation.referenced import check_references
from migration_assets.settings import read_settings

_SHOWN = 20
_Moment = Annotated[
    datetime | None, typer.Option(help="Only rows that changed from this time on (UTC).")
]


def reconcile(  # noqa: PLR0913, PLR0917 - a command has its options
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE]...", help="FHIR types; all by default.")
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Compare content too.")] = False,  # noqa: FBT002 - typer's way
    references: Annotated[bool, typer.Option("--references", help="And references.")] = False,  # noqa: FBT002
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many, by lot.")] = None,
    seed: Annotated[int, typer.Option(help="Of the lot: the same seed draws the same.")] = 0,
    stream: Annotated[str | None, typer.Option(help="Only what this stream's rows made.")] = None,
    since: _Moment = None,
    until: Annotated[
        datetime | None, typer.Option(help="Only rows that changed before this time (UTC).")
    ] = None,
    organization: Annotated[
        str | None, typer.Option(help="Only what belongs to the organization of this key.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show earlier comparisons.")] = False,  # noqa: FBT002
    mend: Annotated[
        list[Repair] | None, typer.Option("--repair", help="Repair this, as far as it is proved.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Compare Medplum with the account by search: missing, unexpected, duplicate.

    Writes nothing to Medplum but repairs with --yes; keeps its evidence on account. Exit 1:
    something was found.
    """
    settings = read_settings()
    connections = Connections(settings, before_use=before_use)
    cohort = Cohort(stream=stream, since=_utc(since), until=_utc(until), organization=organization)
    with connections.manifest() as manifest:
        if show:
            print_evidence(manifest.reconciliations.latest(limit=_SHOWN), as_json=as_json)
            return
        chosen = _chosen(list(mappings_of(settings).values()), types or [])
        fhir = _medplum(connections, manifest)
        made: list[tuple[Mapping[Any], Comparison]] = []
        with _watched(fhir, quiet=as_json) as asker:
            for mapping, kind in chosen:
                part = replace(cohort, resource_type=kind)
                compared = compare(
                    manifest,
                    asker,
                    mapping,
                    cohort=part,
                    deep=deep,
                    sample=sample,
                    seed=seed,
                    clock=connections.clock,
                )
                made.append((mapping, compared))
                if (references or Repair.REFERENCES in (mend or ())) and sample is None:
                    checked = check_references(
                        manifest, asker, mapping, cohort=part, clock=connections.clock
                    )
                    made.append((mapping, checked))
    comparisons = [each for _mapping, each in made]
    if not as_json:
        print_comparisons(comparisons)
    repaired = _repaired(connections, made, mend or [], act=yes)
    if as_json:
        print_json(plain(comparisons, repaired))
    else:
        print_repaired(repaired, act=yes)
    if not all(each.agrees for each in comparisons):
        raise typer.Exit(1)


def _repaired(
    connections: Connections,
    made: Sequence[tuple[Mapping[Any], Comparison]],
    wanted: Sequence[Repair],
    *,
    act: bool,
) -> list[Repaired]:
    """Repair what was found, kind by kind; added up over the types."""
    if not wanted:
        return []
    with connections.run("migration reconcile --repair") as run:
        repaired: list[Repaired] = []
        for what in dict.fromkeys(wanted):
            total = Repaired(what)
            for mapping, each in made:
                if each.concerns(KINDS[what]):
                    one = repair(run, mapping, each.evidence.id, what, act=act)
                    total.done += one.done
                    total.left += one.left
            repaired.append(total)
    return repaired


def _chosen(
    mappings: Sequence[Mapping[Any]], types: Sequence[str]
) -> list[tuple[Mapping[Any], str]]:
    """The types to compare, each with the mapping that makes it, in load order."""
    known = {name: each for each in mappings for name in each.types}
    for name in types:
        if name not in known:
            raise Permanent(f"No mapping makes {name}. There are: {', '.join(known)}.")
    return [(each, name) for name, each in known.items() if not types or name in types]


def _medplum(connections: Connections, manifest: Manifest) -> MedplumClient:
    fhir = connections.medplum(manifest)
    if fhir is None:
        raise Permanent(
            "Reconciling asks Medplum: set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and "
            "MEDPLUM_CLIENT_SECRET."
        )
    return fhir


@contextmanager
def _watched(fhir: MedplumClient, *, quiet: bool) -> Iterator[Asker]:
    """Searches whose progress is shown to whoever sits at a terminal."""
    if quiet or not sys.stdout.isatty():
        yield Asker(fhir)
        return
    with console().status("Asking Medplum…") as status:
        seen = 0

        def watched(resources: int) -> None:
            nonlocal seen
            seen += resources
            status.update(
                f"{several(seen, 'resource')} read, {several(asker.points, 'point')} spent"
            )

        asker = Asker(fhir, watched=watched)
        yield asker


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
