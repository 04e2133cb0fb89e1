"""Purging: what retention lets go of is dropped, stream by stream, and written down.

Belongs here: from a policy to what is dropped. Does not belong here: which rows are final, or how
they are dropped (``manifest.purges``).

What a purged row still does: it is known when it is pulled again, is never new or changed for
having been purged, is deleted in Medplum when the source deletes it, can be undone, and is what
others refer to. What it cannot do is be mapped again: `migration remap` says so and passes it by,
and a unit that must be (redelivered after an undo, merged at the source) is quarantined as
``payload-purged`` until its window is pulled again, which lands the row anew.

A type whose resources are marked instead of deleted (``Removal.INACTIVE``) needs the row for that:
its living rows are kept.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from migration_assets.manifest import Manifest
from migration_assets.manifest.custody import PURGED
from migration_assets.manifest.records import to_micros
from migration_assets.mapping import Mapping, Removal
from migration_assets.retention import Policy


@dataclass
class Purged:
    """What was dropped, or in a dry run would be: rows and bytes by stream, and the terms."""

    rows: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    terms: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Rows of all streams."""
        return sum(self.rows.values())


def purge(
    manifest: Manifest,
    policy: Policy,
    now: datetime,
    *,
    by: str,
    act: bool = True,
    streams: Collection[str] = (),
    keep_living: Collection[str] = (),
    release: bool = False,
) -> Purged:
    """Drop what ``policy`` lets go of at ``now``; with ``act`` false only count it.

    ``streams`` restricts it to some; of those in ``keep_living`` (``rows_needed``) only deleted
    rows go. ``by`` is written down with it. ``release`` gives the space back to the disk, and
    locks the account meanwhile.
    """
    purged = Purged()
    for stream in sorted(streams or manifest.protection.purges.streams()):
        purged.terms[stream] = policy.told(stream)
        before = policy.settled_before(stream, now)
        if before is None:
            continue
        terms: dict[str, Any] = {
            "settled_before": to_micros(before),
            "keep_living": stream in keep_living,
        }
        due = manifest.protection.purges.due(stream, **terms)
        if not due.rows:
            continue
        purged.rows[stream], purged.bytes[stream] = due.rows, due.bytes
        if act:
            _drop(manifest, stream, terms, purged, by=by)
    if act and (purged.total or release):
        manifest.protection.purges.finish(release=release)
    return purged


def rows_needed(mappings: Iterable[Mapping[Any]]) -> frozenset[str]:
    """Streams whose rows are needed when the source deletes them."""
    return frozenset(each.stream for each in mappings if each.removal is not Removal.DELETE)


def _drop(
    manifest: Manifest, stream: str, terms: dict[str, Any], purged: Purged, *, by: str
) -> None:
    purged.rows[stream] = purged.bytes[stream] = 0
    record = manifest.protection.custody.begin(PURGED, purged.terms[stream], by, stream=stream)
    while (dropped := manifest.protection.purges.drop(record, stream, **terms)) is not None:
        purged.rows[stream] += dropped.rows
        purged.bytes[stream] += dropped.bytes
    manifest.protection.custody.finish(record)
