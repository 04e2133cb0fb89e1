"""The names of things in Dagster: of assets, and of the ops that run config is addressed to.

Belongs here: names made from a mapping. Does not belong here: what they name.
"""

from typing import Any

import dagster as dg

from migration_assets.mapping import Mapping


def asset_key(resource_type: str) -> dg.AssetKey:
    """The key of a type's asset."""
    return dg.AssetKey(["medplum", resource_type])


def stream_key(stream: str) -> dg.AssetKey:
    """The key of a legacy stream's external asset."""
    return dg.AssetKey(["legacy", stream])


def op_name(mapping: Mapping[Any]) -> str:
    """The op that migrates a type: the name run config is addressed to."""
    return f"medplum__{mapping.resource_type}"
