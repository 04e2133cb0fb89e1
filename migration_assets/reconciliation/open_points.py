"""What the open work will cost in quota points, and so how long it takes at least (contract §8).

Belongs here: points per unit by strategy, and the sum. Does not belong here: what the quota is
(``medplum.quota``), or asking Medplum.

An estimate: a row that proves unchanged costs nothing, a reference whose target is not on account
costs 20 more, and a group need not have all its members.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from migration_assets.adoption import Adoption, Standing, Strategy
from migration_assets.manifest import Manifest
from migration_assets.manifest.open_work import OpenWork
from migration_assets.mapping import Mapping
from migration_assets.medplum.quota import CONDITIONAL_POINTS, SEARCH_POINTS, WRITE_POINTS

LOOKED_UP_TOGETHER = 500
"""Units whose identifiers one search finds: the pipeline takes so many at a time."""


@dataclass(frozen=True)
class OpenPoints:
    """The open work of one type: units, and points to deliver them; 0 where nothing may be."""

    resource_type: str
    strategy: str
    new: int
    changed: int
    points: int
    refusal: str = ""


def open_points(
    manifest: Manifest, mappings: Iterable[Mapping[Any]], adoption: Adoption
) -> list[OpenPoints]:
    """The open work of every mapped type, in load order."""
    work = manifest.open_work()
    return [
        _of_type(each, work.get(each.stream, OpenWork()), adoption.standing(each.resource_type))
        for each in mappings
    ]


def _of_type(mapping: Mapping[Any], work: OpenWork, standing: Standing) -> OpenPoints:
    if not standing.may_deliver:
        return OpenPoints(mapping.resource_type, "", work.new, work.changed, 0, standing.refusal)
    per_new = WRITE_POINTS if standing.strategy is Strategy.EXCLUSIVE else CONDITIONAL_POINTS
    look_ups = math.ceil(work.new / LOOKED_UP_TOGETHER)
    points = per_new * work.new + WRITE_POINTS * work.changed + SEARCH_POINTS * look_ups
    return OpenPoints(
        mapping.resource_type,
        standing.strategy.value,
        work.new,
        work.changed,
        points * len(mapping.types),
    )


def seconds_at(points: int, per_minute: int, left: int = 0, seconds_left: float = 0.0) -> float:
    """How long ``points`` take at least: what is ``left`` at once, then a window's each minute."""
    beyond = points - left
    if beyond <= 0:
        return 0.0
    return seconds_left + 60.0 * (math.ceil(beyond / per_minute) - 1)
