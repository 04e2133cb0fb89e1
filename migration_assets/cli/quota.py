"""``migration quota``: Medplum's limit, how long the open work takes at it, how to raise it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.table import Table

from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import MigrationError
from migration_assets.manifest import Manifest
from migration_assets.medplum.quota import SEARCH_POINTS
from migration_assets.reconciliation.open_points import OpenPoints, open_points, seconds_at
from migration_assets.settings import read_settings

DEFAULT_POINTS = 50_000
"""Points a minute that Medplum grants a client unless told otherwise (contract §8)."""

_FRESH = 59.0
"""Seconds that are left of a window of 60 if our question was the first in it."""

_NOT_SET = (
    "Medplum was not asked: set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET. "
    "The times below are for its default."
)
_COSTS = (
    "A new resource costs 100 points where we are its only writer (exclusive), 140 where not "
    "(shared); a changed one 100; a search that looks up to 500 of them up 20; an unchanged one "
    "nothing. A reference to what is not on account costs 20 more."
)


@dataclass(frozen=True)
class Heard:
    """The limit as the server told it; ``exact`` if a window was heard of from its beginning."""

    points_per_minute: int
    exact: bool
    left: int
    seconds: float


def quota(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Show Medplum's limit, how long the open work takes at it at least, and how to raise it.

    Costs one search of 20 points. Exit 1 if Medplum does not answer.
    """
    settings = read_settings()
    connections = Connections(settings, before_use=before_use)
    found = mappings_of(settings)
    with connections.manifest() as manifest:
        work = open_points(manifest, found.values(), connections.adoption())
        heard, why = _hear(connections, manifest)
    points = sum(each.points for each in work)
    seconds = _seconds(points, heard)
    raising = _raising(points, heard)
    if as_json:
        print_json(
            {
                "heard": asdict(heard) if heard else None,
                "not_heard_because": why or None,
                "open": [asdict(each) for each in work],
                "points": points,
                "seconds": seconds,
                "raise": raising,
            }
        )
    else:
        out = console()
        out.print(_told(heard) if heard else why, markup=False)
        out.print(_table(work, points, seconds))
        for each in (_COSTS, *raising):
            out.print(each, markup=False)
    if heard is None and why != _NOT_SET:
        raise typer.Exit(1)


def _seconds(points: int, heard: Heard | None) -> float:
    """How long the open work takes at least."""
    if heard is None:
        return seconds_at(points, DEFAULT_POINTS)
    return seconds_at(points, heard.points_per_minute, heard.left, heard.seconds)


def _raising(points: int, heard: Heard | None) -> list[str]:
    """Who can raise the limit, and how; the number is for the open work to be done in an hour."""
    now = heard.points_per_minute if heard else DEFAULT_POINTS
    option = f'[{{"id": "fhirQuota", "valueInteger": {max(2 * now, math.ceil(points / 60))}}}]'
    client = (
        f"A project admin raises a client's limit: create a UserConfiguration with option {option} "
        "and name it in ProjectMembership.userConfiguration of the ClientApplication's membership. "
        "It takes effect at once, for tokens in use too."
    )
    project = (
        "A project has ten times a client's limit. Its own settings are a super admin's: "
        "Project.systemSetting userFhirQuota, totalFhirQuota, enableFhirQuota."
    )
    return [client, project]


def _hear(connections: Connections, manifest: Manifest) -> tuple[Heard | None, str]:
    """Ask something cheap, and read what the answer tells beside it; else why it was not heard."""
    client = connections.medplum(manifest)
    if client is None:
        return None, _NOT_SET
    failed = ""
    try:
        client.count("Patient")
    except MigrationError as error:  # a 429 tells of the quota too
        failed = str(error)
    known = client.pacer.ledger
    if known.left is None or known.limit is None or known.ends_at is None:
        return None, failed or "Medplum sends no RateLimit header: it limits nothing that we know."
    seconds = max(0.0, known.ends_at - connections.clock().timestamp())
    exact = seconds > _FRESH
    limit = max(known.limit, known.left + SEARCH_POINTS if exact else 0)
    return Heard(limit, exact, known.left, round(seconds, 1)), ""


def _told(heard: Heard) -> str:
    most = "" if heard.exact else "at least "
    return (
        f"Medplum grants this client {most}{heard.points_per_minute:,} points a minute; "
        f"{heard.left:,} are left for the next {math.ceil(heard.seconds)} s. All processes that "
        "use the client share them."
    )


def _table(work: Sequence[OpenPoints], points: int, seconds: float) -> Table:
    table = plain_table("Open work, and what delivering it costs")
    table.add_column("type", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    for name in ("new", "changed", "points"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in work:
        numbers = (f"{one:,}" if one else "·" for one in (each.new, each.changed, each.points))
        table.add_row(each.resource_type, each.strategy or "not delivered", *numbers)
    table.add_section()
    table.add_row("all", "", "", "", f"{points:,}", style="bold")
    table.caption = f"At least {_duration(seconds)} at this limit." if points else None
    return table


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "a minute" if minutes else "a moment"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"
