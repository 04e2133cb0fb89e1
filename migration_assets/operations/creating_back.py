"""One resource made in Medplum after the flip, on its way to a row of its own.

Belongs here: the new row, and the identifier that the resource gets for it. Does not belong here:
edits and deletions (``settling_back``).

In this order: that it is about to be sent is written down; it is sent under a name by which the
source knows a repeated one again; the key it gets is written down; Medplum's resource gets the
identifier, over exactly the version that was sent; unit, target and debt are settled together. Cut
off anywhere, the next run goes on from what it finds.
"""

from dataclasses import replace

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.reading import own_key
from migration_assets.legacy.writing import Told
from migration_assets.manifest import token
from migration_assets.manifest.write_back_ends import Debt, WriteBack
from migration_assets.manifest.write_backs import Seen
from migration_assets.mapping import Resource
from migration_assets.medplum import Member
from migration_assets.medplum.changes import put_over
from migration_assets.medplum.looking import version_of
from migration_assets.operations.reversing import NoWay, Way, named_as, way_of_new
from migration_assets.operations.settling_back import (
    NOT_TAKEN,
    PART,
    TRIES,
    Clerk,
    refusal,
    send,
    target_of,
)

DELETED = "deleted-in-medplum"
PERHAPS = "perhaps-created"
"""Reason of a new row whose answer was lost, at a source that does not know it again."""
STRANGE = "identifier-not-on-account"
"""Reason of a new resource that brings an identifier of the source's, for which no row landed."""


def settle_creation(clerk: Clerk, debt: Debt) -> WriteBack:
    """Give a new resource its row."""
    resource = _held(clerk, debt)
    if resource is None:
        begun = debt.sent or debt.key is not None
        gone = (WriteBack.CONFLICT, DELETED) if begun else (WriteBack.SKIPPED, "deleted-again")
        return clerk.end(debt, *gone)
    if debt.key is None:
        if debt.resource_type != clerk.mapping.resource_type or own_key(resource) is not None:
            named = own_key(resource) is not None
            return clerk.end(debt, WriteBack.REFUSED, STRANGE if named else PART)
        made = _created(clerk, debt, _way(clerk, resource))
        if isinstance(made, WriteBack):
            return made
        debt = replace(debt, key=made)
    if own_key(resource) not in (None, debt.key):
        return clerk.end(debt, WriteBack.CONFLICT, STRANGE)
    return _named(clerk, debt, resource)


def _created(clerk: Clerk, debt: Debt, way: Way | NoWay) -> str | WriteBack:
    """The new row's key, or how the debt ends without one."""
    ends = _forbidden(clerk, debt, way)
    fields = way.fields if isinstance(way, Way) else {}
    name = f"write-back-{debt.resource_type}-{debt.fhir_id}"
    for tries in range(TRIES):
        if ends is not None:
            break
        said = send(clerk, debt, tries, lambda: clerk.writer.create(fields, once=name))
        if said.told is Told.TAKEN and said.key is not None:
            clerk.manifest.write_backs.keyed(debt, said.key, lease=clerk.lease)
            return said.key
        if reason := refusal(said):
            ends = WriteBack.REFUSED, reason, None
        elif not clerk.writer.repeats_safely:
            ends = WriteBack.CONFLICT, PERHAPS, None
    state, reason, field = ends or (WriteBack.OPEN, NOT_TAKEN, None)
    return clerk.end(debt, state, reason, field=field)


def _forbidden(
    clerk: Clerk, debt: Debt, way: Way | NoWay
) -> tuple[WriteBack, str | None, str | None] | None:
    """Why no row may be made, and how the debt ends for that; None if one may."""
    if isinstance(way, NoWay):
        state = WriteBack.SKIPPED if way.skipped else WriteBack.REFUSED
        return state, way.reason, way.field or None
    if not clerk.writer.creates:
        return WriteBack.REFUSED, "creating-not-described", None
    if debt.sent and not clerk.writer.repeats_safely:
        return WriteBack.CONFLICT, PERHAPS, None
    return None


def _named(clerk: Clerk, debt: Debt, resource: Resource) -> WriteBack:
    """Add the identifier, and settle all of it with the row as it lies."""
    key = str(debt.key)
    if own_key(resource) is None:
        version = put_over(clerk.fhir, resource, body=named_as(resource, key))
        if version is None:  # edited meanwhile, or not answered: the next look shows which
            return clerk.end(debt, WriteBack.OPEN, "identifier-not-added")
        resource = {**resource, "meta": {**resource.get("meta", {}), "versionId": version}}
    lies = clerk.writer.read(key)
    if lies.row is None or lies.row.key != key or lies.row.problem is not None:
        return clerk.end(debt, WriteBack.CONFLICT, "new-row-not-found")
    name = token(debt.resource_type, identifier_system(debt.resource_type), key)
    way = _way(clerk, {**resource, "identifier": _without_own(resource)})
    as_sent = isinstance(way, Way) and clerk.same({**lies.row.row, **way.fields}, lies.row.row)
    if isinstance(way, Way) and as_sent:
        target = target_of(name, debt.fhir_id, way, version_of(resource))
        target = replace(target, fingerprint=None)  # its own identifier was not in that print
        return clerk.end(debt, WriteBack.WRITTEN, row=lies.row, target=target)
    # Edited in Medplum between the two: the row is there, and the edit is a debt of its own.
    way = Way({}, {}, {}, {})
    target = target_of(name, debt.fhir_id, way, debt.version_id)
    state = clerk.end(debt, WriteBack.WRITTEN, row=lies.row, target=target)
    owner = clerk.manifest.write_backs.owners.by_token([name]).get(name)
    clerk.manifest.write_backs.note(
        debt.resource_type,
        [
            Seen(
                fhir_id=debt.fhir_id,
                version_id=str(version_of(resource)),
                kind="change",
                unit_id=None if owner is None else owner.unit_id,
                token=name,
                key=key,
            )
        ],
    )
    return state


def _way(clerk: Clerk, resource: Resource) -> Way | NoWay:
    (symbolic,) = clerk.symbolic.of(clerk.mapping, {}, [resource])
    return way_of_new(clerk.mapping, symbolic, clerk.writer.key_field)


def _held(clerk: Clerk, debt: Debt) -> Resource | None:
    member = Member(debt.resource_type, "", "", None, debt.fhir_id)
    return clerk.looker.held([member]).get(debt.fhir_id)


def _without_own(resource: Resource) -> list[dict[str, str]]:
    system = identifier_system(str(resource["resourceType"]))
    return [each for each in resource.get("identifier") or () if each.get("system") != system]
