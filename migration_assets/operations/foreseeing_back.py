"""What would become of a change made in Medplum, for whoever asks before it is written back.

Belongs here: the questions of ``settling_back`` and ``creating_back``, without what follows from
the answers. Does not belong here: writing anything, anywhere.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import TypeAlias

from migration_assets.manifest.write_back_ends import Debt, WriteBack
from migration_assets.manifest.write_backs import Seen
from migration_assets.medplum import Member
from migration_assets.operations.reversing import NoWay, way_of_new
from migration_assets.operations.settling_back import (
    Clerk,
    Found,
    conflict_of,
    found_for,
    held_of,
    way_of,
)

Foreseen: TypeAlias = Counter[tuple[str, str]]
"""How many changes would end in which state, for which reason."""

_WRITTEN = (WriteBack.WRITTEN.value, "")
_UNCHANGED = (WriteBack.UNCHANGED.value, "")


def outlook(clerk: Clerk, kind: str, seen: Seen, *, older: bool) -> tuple[str, str]:
    """The state a change would end in, and why; ``older`` ones stood there before the flip."""
    if seen.kind == "create" and older:
        return WriteBack.SKIPPED.value, "older-than-the-flip"
    if seen.kind == "create":
        return _of_new(clerk, kind, seen)
    debt = _as_debt(kind, seen)
    found = found_for(clerk, debt)
    if isinstance(found, str):
        return WriteBack.REFUSED.value, found
    return (_of_deletion if seen.kind == "delete" else _of_edit)(clerk, debt, found)


def _of_deletion(clerk: Clerk, debt: Debt, found: Found) -> tuple[str, str]:
    lies = clerk.read(found.unit.key)
    if lies.row is None:
        return _UNCHANGED
    reason = conflict_of(clerk, debt, found, lies)
    return (WriteBack.CONFLICT.value, reason) if reason else _WRITTEN


def _of_edit(clerk: Clerk, debt: Debt, found: Found) -> tuple[str, str]:
    way = way_of(clerk, found, held_of(clerk, found.owned))
    if isinstance(way, NoWay):
        return _refused(way)
    lies = clerk.read(found.unit.key)
    if not way.fields or (lies.row is not None and clerk.same(lies.row.row, way.row)):
        return _UNCHANGED
    reason = conflict_of(clerk, debt, found, lies)
    return (WriteBack.CONFLICT.value, reason) if reason else _WRITTEN


def _of_new(clerk: Clerk, kind: str, seen: Seen) -> tuple[str, str]:
    held = clerk.looker.held([Member(kind, "", "", None, seen.fhir_id)])
    if seen.fhir_id not in held:
        return WriteBack.SKIPPED.value, "deleted-again"
    (symbolic,) = clerk.symbolic.of(clerk.mapping, {}, [held[seen.fhir_id]])
    way = way_of_new(clerk.mapping, symbolic, clerk.writer.key_field)
    return _refused(way) if isinstance(way, NoWay) else _WRITTEN


def _refused(way: NoWay) -> tuple[str, str]:
    state = WriteBack.SKIPPED if way.skipped else WriteBack.REFUSED
    return state.value, f"{way.reason} at {way.field}" if way.field else way.reason


def _as_debt(kind: str, seen: Seen) -> Debt:
    return Debt(
        id=0,
        resource_type=kind,
        fhir_id=seen.fhir_id,
        version_id=seen.version_id,
        kind=seen.kind,
        state=WriteBack.OPEN,
        reason=None,
        field=None,
        unit_id=seen.unit_id,
        token=seen.token,
        key=seen.key,
        versions=seen.versions,
        seen_at=datetime.fromtimestamp(0, UTC),
        attempts=0,
        sent=False,
        choice=None,
    )
