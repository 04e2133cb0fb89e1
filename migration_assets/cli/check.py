"""``migration check``: is everything in place? Each line a claim, with what to do if it fails."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.text import Text

from migration_assets.adoption import Adoption
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import MigrationError
from migration_assets.legacy import Puller
from migration_assets.mapping import Mapping
from migration_assets.mappings import discover
from migration_assets.preparation import preview
from migration_assets.settings import read_settings

_POINTS_PER_CREATE = 140


@dataclass(frozen=True)
class Finding:
    """One claim and how it turned out; ``verdict`` is ok, warning, failed or skipped."""

    claim: str
    verdict: str
    told: str


def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Check settings, mappings, source, account and Medplum. Writes nothing; exit 1: a failure."""
    findings: list[Finding] = []
    for each in findings_of_everything():
        findings.append(each)
        if not as_json:
            _print(each)
    failed = sum(each.verdict == "failed" for each in findings)
    if as_json:
        print_json({"findings": [asdict(each) for each in findings], "failed": failed})
    elif failed:
        console().print(f"\n{failed} of {len(findings)} checks failed.")
    if failed:
        raise typer.Exit(1)


def findings_of_everything() -> Iterator[Finding]:
    """Every check, in an order in which the first failure explains the later ones."""
    settings, said = _tried("settings", read_settings, lambda _: "read")
    yield said
    if settings is None:
        return
    folders = [settings.mappings] if settings.mappings else []
    mappings, said = _tried(
        "mappings", lambda: discover(*folders), lambda found: f"{len(found)}: {', '.join(found)}"
    )
    yield said
    connections = Connections(settings, before_use=before_use)
    adoption, said = _tried(
        "adoption", connections.adoption, lambda found: _stands(found, mappings)
    )
    yield said
    if adoption is not None and mappings is not None:
        types = [name for mapping in mappings.values() for name in mapping.types]
        for name in adoption.unknown_types(types):
            yield Finding("adoption", "warning", f"{name} is declared, but no mapping makes it.")
    _, said = _tried("account", lambda: _opened(connections), lambda _: "opened, schema up to date")
    yield said
    puller, said = _tried("source description", connections.puller, lambda _: "read")
    yield said
    if puller is not None and mappings is not None:
        for mapping in mappings.values():
            yield _stream(puller, mapping)
    yield from _medplum(connections)


def _tried(claim: str, what: Callable[[], Any], told: Callable[[Any], str]) -> tuple[Any, Finding]:
    try:
        made = what()
        return made, Finding(claim, "ok", told(made))
    except MigrationError as error:
        return None, Finding(claim, "failed", str(error))


def _opened(connections: Connections) -> None:
    with connections.manifest() as manifest:
        manifest.balances()


def _stands(adoption: Adoption, mappings: dict[str, Mapping[Any]] | None) -> str:
    by_phase: dict[str, list[str]] = {}
    for name in mappings or {}:
        by_phase.setdefault(adoption.standing(name).phase.value, []).append(name)
    return "; ".join(f"{phase}: {', '.join(names)}" for phase, names in by_phase.items())


def _stream(puller: Puller, mapping: Mapping[Any]) -> Finding:
    """One page of a stream, mapped and validated in memory."""
    claim = f"stream {mapping.stream}"
    page, said = _tried(claim, lambda: puller.first_page(mapping.stream), lambda _: "")
    if page is None:
        return said
    trouble: dict[str, int] = {}
    for row in page.rows:
        if row.deleted:
            continue
        problems = (row.problem,) if row.problem else preview(mapping, "", row.row).problems
        for problem in problems[:1]:
            trouble[str(problem)] = trouble.get(str(problem), 0) + 1
    told = f"answers; one page of {len(page.rows)} rows"
    if not puller.filters_by_time(mapping.stream):
        told += "; no change time: every pull reads it whole"
    if trouble:
        worst = sorted(trouble.items(), key=lambda item: -item[1])[:3]
        reasons = ", ".join(f"{count}x {reason}" for reason, count in worst)
        return Finding(claim, "warning", f"{told}; would be quarantined: {reasons}")
    return Finding(claim, "ok", f"{told}, all of which map and validate")


def _medplum(connections: Connections) -> Iterator[Finding]:
    client, said = _tried("Medplum settings", connections.medplum, lambda _: "set")
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
    held, said = _tried(
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
    atomic, said = _tried("Medplum transactions", client.transactions_available, lambda _: "")
    if atomic is None:
        yield said
    elif atomic:
        yield Finding("Medplum transactions", "ok", "groups are written atomically")
    else:
        yield Finding(
            "Medplum transactions",
            "failed",
            "the project feature transaction-bundles is off: an Encounter with its "
            "ClinicalImpression cannot be written all or nothing, and is quarantined as "
            "needs-transaction-bundles. A super admin adds it to Project.features.",
        )


_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


def _print(each: Finding) -> None:
    mark, style = _MARKS[each.verdict]
    line = Text.assemble((f"{mark} ", style), (each.claim, "bold"), ": ", each.told)
    console().print(line)
