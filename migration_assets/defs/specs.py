"""How assets present themselves: group, kinds, owner, tags, what they are, where their code is.

Belongs here: the specs of types and of legacy streams. Does not belong here: computing them.
"""

import warnings
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_shared.utils.warnings import BetaWarning

from migration_assets.defs.keys import asset_key, stream_key
from migration_assets.mapping import Mapping, Step

_PACKAGE = Path(__file__).resolve().parents[1]
_OWNERS = ["team:migration"]

_STEP_TEXT = {
    Step.PROVIDERS: "Providers come first, so that clinical events can name them.",
    Step.ORGANIZATIONS: "Shared organizations: each practice.",
    Step.PATIENTS: "The record that everything clinical refers to.",
    Step.SNAPSHOT: "The clinicians' present snapshot: problems and medications.",
    Step.HISTORY: "The longitudinal history: encounters, vitals, labs.",
}


def legacy_stream(mapping: Mapping[Any]) -> dg.AssetSpec:
    """The legacy stream as an external asset: the root of the lineage, observed by the sensor."""
    return dg.AssetSpec(
        stream_key(mapping.stream),
        group_name=f"step_{mapping.step.value}",
        description=(
            f"Rows of the legacy API's stream {mapping.stream}, which become "
            f"{' and '.join(mapping.types)}. The sensor legacy_changes observes how far the "
            "account is behind, whenever that changes."
        ),
        kinds={"rest"},
        owners=_OWNERS,
        tags={"legacy/stream": mapping.stream},
    )


def type_spec(mapping: Mapping[Any], resource_type: str, *, code_url: str | None) -> dg.AssetSpec:
    """A FHIR type's asset: the guide's step is its group, its dependencies are the references."""
    related = resource_type != mapping.resource_type
    group = f" Written together with its {mapping.resource_type}, or not at all." if related else ""
    return dg.AssetSpec(
        asset_key(resource_type),
        deps=[stream_key(mapping.stream), *(asset_key(each) for each in mapping.after)],
        group_name=f"step_{mapping.step.value}",
        description=(
            f"{resource_type} resources in Medplum, from the legacy stream {mapping.stream}."
            f"{group} {_STEP_TEXT[mapping.step]}"
        ),
        kinds={"python", "fhir", "medplum"},
        owners=_OWNERS,
        tags={"fhir/resource": resource_type.lower(), "mapping/version": mapping.version},
        metadata={
            "stream": mapping.stream,
            "mapping_version": mapping.version,
            "dagster/code_references": _code(mapping, code_url),
        },
    )


def _code(mapping: Mapping[Any], code_url: str | None) -> dg.CodeReferencesMetadataValue:
    """Where the mapping stands; the factory that all types share would tell nothing.

    Files of an installed package are in the repository at the same place below the package.
    """
    code = mapping.build.__code__
    file, line = Path(code.co_filename).resolve(), code.co_firstlineno
    label = f"mapping of {mapping.stream}"
    with warnings.catch_warnings():  # code references are beta; without them nothing is lost
        warnings.simplefilter("ignore", BetaWarning)
        found: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
            dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=label)
        ]
        if code_url and file.is_relative_to(_PACKAGE):
            place = file.relative_to(_PACKAGE.parent).as_posix()
            url = f"{code_url.rstrip('/')}/{place}#L{line}"
            found.append(dg.UrlCodeReference(url=url, label=f"{label} in the repository"))
        return dg.CodeReferencesMetadataValue(code_references=found)
