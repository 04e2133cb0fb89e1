"""``migration check``: is everything in place? Each line a claim, with what to do if it fails."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from migration_assets.adoption import Adoption
from migration_assets.cli.check_bots import bots
from migration_assets.cli.check_protection import protection
from migration_assets.cli.check_side_effects import side_effects
from migration_assets.cli.check_streams import PATIENCE, impatient, stream_findings
from migration_assets.cli.findings import Finding, print_finding, tried
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.settings import read_settings

_POINTS_PER_CREATE = 140


def check(
    streams: Annotated[
        list[str] | None, typer.Argument(metavar="[STREAM]...", help="Only these streams.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
    patience: Annotated[
        float,
        typer.Option(min=0.1, max=3600, metavar="SECONDS", help="For each answer of the source."),
    ] = PATIENCE,
) -> None:
    """Check settings, mappings, source, account and Medplum. Writes nothing; exit 1: a failure.

    Of each stream one page is asked for, once: its size, order, ties, zone, precision, total,
    clock. Streams behind ones that used up the time without an answer are not asked.
    """
    findings: list[Finding] = []
    for each in findings_of_everything(streams or (), patience=patience):
        findings.append(each)
        if not as_json:
            print_finding(each)
    failed = sum(each.verdict == "failed" for each in findings)
    if as_json:
        print_json({"findings": [each.as_json() for each in findings], "failed": failed})
    elif failed:
        console().print(f"\n{failed} of {len(findings)} checks failed.")
    if failed:
        raise typer.Exit(1)


def findings_of_everything(
    only: Sequence[str] = (), *, patience: float = PATIENCE
) -> Iterator[Finding]:
    """Every check, in an order in which the first failure explains the later ones.

    With ``only`` those that the named streams need.
    """
    settings, said = tried("settings", read_settings, lambda _: "read")
    yield said
    if settings is None:
        return
    mappings, said = tried(
        "mappings", lambda: mappings_of(settings), lambda found: f"{len(found)}: {', '.join(found)}"
    )
    yield said
    connections = Connections(settings, before_use=before_use)
    if not only:
        yield from _adoption(connections, mappings)
    with ExitStack() as opened:
        manifest, said = tried(
            "account",
            lambda: opened.enter_context(connections.manifest()),
            lambda _: "opened, schema up to date",
        )
        yield said
        if manifest is not None and not only:
            yield from protection(manifest, settings)
        puller, said = tried(
            "source description",
            lambda: impatient(connections, patience).puller(manifest),
            lambda _: "read",
        )
        yield said
        if puller is not None and (mappings is not None or only):
            source = connections.source()
            found = (mappings or {}).values()
            yield from stream_findings(source, puller, found, only, patience=patience)
        if not only:
            yield from _medplum(connections, manifest, mappings or {})


def _adoption(
    connections: Connections, mappings: dict[str, Mapping[Any]] | None
) -> Iterator[Finding]:
    adoption, said = tried("adoption", connections.adoption, lambda found: _stands(found, mappings))
    yield said
    if adoption is not None and mappings is not None:
        types = [name for mapping in mappings.values() for name in mapping.types]
        for name in adoption.unknown_types(types):
            yield Finding("adoption", "warning", f"{name} is declared, but no mapping makes it.")


def _stands(adoption: Adoption, mappings: dict[str, Mapping[Any]] | None) -> str:
    by_phase: dict[str, list[str]] = {}
    for name in mappings or {}:
        by_phase.setdefault(adoption.standing(name).phase.value, []).append(name)
    return "; ".join(f"{phase}: {', '.join(names)}" for phase, names in by_phase.items())


def _medplum(
    connections: Connections, manifest: Manifest | None, mappings: dict[str, Mapping[Any]]
) -> Iterator[Finding]:
    client, said = tried("Medplum settings", lambda: connections.medplum(manifest), lambda _: "set")
    if client is None:
        unset = said.verdict == "ok"
        yield Finding(
            "Medplum settings",
            "warning" if unset else "failed",
            "not set: everything rehearses. Set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and "
            "MEDPLUM_CLIENT_SECRET to deliver."
            if unset
            else said.told,
        )
        return
    held, said = tried(
        "Medplum reachable, credentials accepted",
        lambda: client.count("Patient"),
        lambda count: f"yes; the project holds {count:,} patients",
    )
    yield said
    if held is None:
        return
    points = client.pacer.points
    if points is None:
        yield Finding("Medplum quota", "warning", "the server sends no RateLimit header")
    else:
        rate = points // _POINTS_PER_CREATE
        yield Finding(
            "Medplum quota",
            "ok",
            f"{points:,} points left in this minute: about {rate:,} new resources a minute. A "
            "project admin raises it with UserConfiguration option fhirQuota.",
        )
    types = [kind for each in mappings.values() for kind in each.types]
    yield from bots(client, mappings.values())
    yield from side_effects(client, types, connections.settings)
    atomic, said = tried("Medplum transactions", client.transactions_available, lambda _: "")
    if atomic is None:
        yield said
    elif atomic:
        yield Finding("Medplum transactions", "ok", "groups are written atomically")
    else:
        yield Finding(
            "Medplum transactions",
            "warning",
            "the project feature transaction-bundles is off: an Encounter with its "
            "ClinicalImpression is not written all or nothing but member by member, and stays "
            "pending until it is whole. A super admin adds the feature to Project.features.",
        )
