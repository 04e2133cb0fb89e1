"""``migration preview TYPE --since-version``: what another mapping version would change."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
from rich.text import Text

from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections
from migration_assets.counting import of_several
from migration_assets.mapping import Mapping
from migration_assets.operations.remapping import Difference, VersionChange, version_change

_EVENTS = ("unchanged", "changed", "created", "deleted")
_PATHS_SHOWN = 20


def show_version_change(
    connections: Connections,
    mapping: Mapping[Any],
    limit: int | None,
    *,
    values: bool,
    as_json: bool,
) -> None:
    """Count and print it; ``values`` prints patient data to the terminal."""
    with connections.manifest() as manifest:
        fhir = connections.medplum(manifest)
        change = version_change(manifest, fhir, connections.adoption(), mapping, limit=limit)
    if as_json:
        print_json(_plain(change, asked=fhir is not None, values=values))
    else:
        _print(change, asked=fhir is not None, values=values)


def _plain(change: VersionChange, *, asked: bool, values: bool) -> dict[str, Any]:
    def reasons(counted: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
        return [
            {"reason": reason, "field": where, "count": number}
            for (reason, where), number in counted.most_common()
        ]

    return {
        "type": change.resource_type,
        "version": change.version,
        "versions_before": dict(change.before),
        "rows": change.rows,
        "of_rows": change.of_rows,
        "purged": change.purged,
        "medplum_asked": asked,
        "resources": [
            {"type": kind, "event": event, "count": number}
            for (kind, event), number in sorted(change.resources.items())
        ],
        "now_quarantined": reasons(change.now_quarantined),
        "no_longer_quarantined": reasons(change.no_longer_quarantined),
        "still_quarantined": reasons(change.still_quarantined),
        "skipped": dict(change.skipped),
        "paths": dict(change.paths.most_common()),
        "examples": [
            {
                "key": each.key,
                "type": each.token.split("|", 1)[0],
                "differences": [_difference(one, values=values) for one in each.differences],
            }
            for each in change.examples
        ],
    }


def _difference(each: Difference, *, values: bool) -> dict[str, Any]:
    if not values:
        return {"path": each.path}
    return {"path": each.path, "before": each.before, "after": each.after}


def _print(change: VersionChange, *, asked: bool, values: bool) -> None:
    out = console()
    if not change.rows:
        out.print(
            f"Every settled row of {change.resource_type} went through version {change.version}."
        )
        return
    versions = ", ".join(f"{name}: {number:,}" for name, number in change.before.most_common())
    out.print(
        f"{of_several(change.rows, change.of_rows, 'row')} that another version settled "
        f"({versions}), mapped by version {change.version}; nothing was written."
    )
    table = plain_table("Resources")
    table.add_column("type", no_wrap=True)
    for name in ("unchanged", "changed", "new", "removed"):
        table.add_column(name, justify="right")
    for kind in sorted({kind for kind, _event in change.resources}):
        numbers = (change.resources[kind, event] for event in _EVENTS)
        table.add_row(kind, *(f"{number:,}" if number else "·" for number in numbers))
    out.print(table)
    for line in _reasons(change):
        out.print(line, markup=False)
    if not asked:
        out.print(
            "Which elements differ is told beside what Medplum holds: set its credentials to see "
            "them."
        )
    elif change.paths:
        paths = plain_table("Elements that differ from what Medplum holds")
        paths.add_column("element", overflow="fold")
        paths.add_column("resources", justify="right")
        for path, number in change.paths.most_common(_PATHS_SHOWN):
            paths.add_row(path, f"{number:,}")
        out.print(paths)
    for each in change.examples:
        out.print(f"\nrow {ascii(each.key)[1:-1]}", markup=False)
        for one in each.differences:
            out.print(_line(one, values=values))


def _reasons(change: VersionChange) -> Iterator[str]:
    for title, counted in (
        ("now quarantined", change.now_quarantined),
        ("no longer quarantined", change.no_longer_quarantined),
        ("still quarantined", change.still_quarantined),
    ):
        for (reason, where), number in counted.most_common():
            yield f"{title}: {number:,} {reason}" + (f" at {where}" if where else "")
    for reason, number in change.skipped.most_common():
        yield f"left out: {number:,} {reason}"


def _line(each: Difference, *, values: bool) -> Text:
    if not values:
        return Text(f"  {each.path}")
    return Text(f"  {each.path}: {_json(each.before)} → {_json(each.after)}")


def _json(value: Any) -> str:
    return "(none)" if value is None else orjson.dumps(value).decode()
