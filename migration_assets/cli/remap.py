"""``migration remap TYPE``: map landed rows again that another mapping version settled."""

from typing import Annotated

import typer

from migration_assets.cli.output import console, print_json
from migration_assets.cli.rehearse import chosen_mappings
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.pipeline import migrate
from migration_assets.settings import read_settings
from migration_assets.steps.transforming import version_now


def remap(
    resource_type: Annotated[str, typer.Argument(metavar="TYPE", help="A FHIR type: Patient")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Map landed rows that another mapping version settled once more, and send what differs.

    The legacy API is not asked. Quarantined rows are tried again too; what was undone or collides
    stays as it is. `migration preview TYPE --since-version` shows beforehand what would change.
    """
    settings = read_settings()
    found = mappings_of(settings)
    (mapping,) = chosen_mappings(list(found.values()), [resource_type])
    with Connections(settings, before_use=before_use).run("migration remap") as run:
        version = version_now(mapping, run.manifest, run.fhir)
        purged = run.manifest.remapping.count_purged(mapping.stream, version)
        reopened = run.manifest.remapping.reopen_outdated(mapping.stream, version)
        worked = migrate(run, mapping)
        standing = run.adoption.standing(mapping.resource_type)
    states = {state.value: number for state, number in worked.by_state.items() if number}
    if as_json:
        print_json(
            {
                "type": mapping.resource_type,
                "version": version,
                "reopened": reopened,
                "purged": purged,
                "settled": states,
                "resources": worked.events,
            }
        )
        return
    out = console()
    out.print(
        f"{mapping.resource_type} {version}: {reopened:,} rows of another version were "
        "mapped again."
    )
    if purged:
        out.print(
            f"{purged:,} more were purged and cannot be mapped again from here: materialize their "
            "partitions, which pulls the rows anew."
        )
    told = ", ".join(f"{number:,} {state}" for state, number in states.items())
    out.print(f"Settled: {told or 'none'}.")
    if standing.refusal:
        out.print(f"Nothing was sent: {standing.refusal}")
    if standing.refused_cohorts:
        out.print(standing.refused_cohorts, markup=False)
