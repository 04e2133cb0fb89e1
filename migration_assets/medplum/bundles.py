"""Submissions become entries, entries become bundles within Medplum's limits (contract §2, §6).

Belongs here: how an entry is written for a known and an unknown target, how a group becomes a
nested transaction, and cutting by bytes, count and points. Does not belong here: sending.
"""

import base64
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson

from migration_assets.fhir.identifiers import percent_encoded, search_token
from migration_assets.fhir.references import ConditionalReference, with_references
from migration_assets.mapping import Resource
from migration_assets.medplum.quota import CONDITIONAL_POINTS, SEARCH_POINTS, WRITE_POINTS

MAX_BYTES = int(0.9 * 1024 * 1024)  # the server's limit is 1 MiB unpacked, answered 400 not 413
MAX_ENTRIES = 200
_MOST_CONDITIONAL = 8  # entries of a transaction with a conditional one in it (contract §6)
_MOST_UPDATES = 50  # PUTs of a transaction
_SEARCHES = b"?identifier="
_HEAD = b'{"resourceType":"Bundle","type":"%s","entry":['
_TAIL = b"]}"
_FRAME = 64  # bytes of a bundle around its entries


@dataclass(frozen=True)
class Member:
    """One resource to be written or, with neither ``body`` nor ``patch``, deleted.

    ``fhir_id`` and ``version_id`` are what the manifest or a search knows of it in Medplum;
    ``former_id`` is where it was before it was deleted: it comes back there, so that whatever
    refers to it finds it. ``sent`` are prints of what we sent and Medplum never confirmed.

    ``create_only``: a resource that is there already is left as it is. ``patch``: top-level
    elements to set in what Medplum holds, or to remove where the value is None; for what has no
    body any more. ``overwrites``: an edit made in Medplum is knowingly written over.
    """

    resource_type: str
    system: str
    value: str
    body: Resource | None
    fhir_id: str | None = None
    version_id: str | None = None
    former_id: str | None = None
    sent: frozenset[str] = frozenset()
    create_only: bool = False
    patch: Mapping[str, Any] | None = None
    overwrites: bool = False

    @property
    def deletes(self) -> bool:
        """Whether nothing of it is to be left in Medplum."""
        return self.body is None and not self.patch

    @property
    def home(self) -> str | None:
        """The id it is written to, if that is known before Medplum answers."""
        return self.fhir_id or self.former_id

    @cached_property
    def reference(self) -> ConditionalReference:
        """How others refer to it."""
        return ConditionalReference(self.resource_type, self.system, self.value)


@dataclass(frozen=True)
class Submission:
    """Everything one unit wants written, together; ``unit`` is the manifest's number for it."""

    unit: int
    members: tuple[Member, ...]

    def locate(self, found: dict[ConditionalReference, tuple[str, str | None]]) -> "Submission":
        """The same submission with the ids and versions that were found."""
        members = [
            replace(each, fhir_id=found[each.reference][0], version_id=found[each.reference][1])
            if each.reference in found
            else each
            for each in self.members
        ]
        return replace(self, members=tuple(members))


@dataclass(frozen=True)
class Packed:
    """One submission, written as one entry of a batch."""

    submission: Submission
    methods: tuple[str, ...]  # of each member
    json: bytes
    points: int
    beyond_transaction: bool = False
    """Whether it has more entries than Medplum takes in one transaction."""

    @property
    def nested(self) -> bool:
        """Whether the entry is a transaction of its own."""
        return len(self.methods) > 1

    @property
    def parallel(self) -> bool:
        """Whether it may run beside others: it writes by id, or creates without a search.

        A search in a write, be it for its own identifier or for what it refers to, has the server
        lock whole index pages against all other writers (contract §3).
        """
        return not self.nested and self.points == WRITE_POINTS and _SEARCHES not in self.json


def pack(
    submission: Submission, *, exclusive: bool, new_uuid: Callable[[], uuid.UUID] = uuid.uuid4
) -> Packed:
    """Write a submission as one entry; several members become a nested transaction."""
    urls = {
        each.reference: f"urn:uuid:{new_uuid()}" if each.home is None else None
        for each in submission.members
    }

    # Only members of a group can refer to each other; a single one is sent as it is.
    literals = {
        each.reference: urls[each.reference] or f"{each.resource_type}/{each.home}"
        for each in submission.members
        if len(submission.members) > 1
    }
    entries = [
        _entry(each, exclusive=exclusive, full_url=urls[each.reference], literals=literals)
        for each in submission.members
    ]
    methods = tuple(str(each["request"]["method"]) for each in entries)
    conditional = sum(
        "?" in each["request"]["url"] or "ifNoneExist" in each["request"] for each in entries
    )
    points = WRITE_POINTS * len(entries) + (CONDITIONAL_POINTS - WRITE_POINTS) * conditional
    transaction = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    nested = {"request": {"method": "POST", "url": "/"}, "resource": transaction}
    json = orjson.dumps(entries[0] if len(entries) == 1 else nested)
    by_search = sum(_SEARCHES.decode() in each["request"]["url"] for each in entries)
    points += SEARCH_POINTS * (json.count(_SEARCHES) - by_search)  # references to be looked up
    if len(entries) == 1:
        return Packed(submission, methods, json, points)
    beyond = (conditional > 0 and len(entries) > _MOST_CONDITIONAL) or (
        methods.count("PUT") > _MOST_UPDATES
    )
    return Packed(submission, methods, json, points, beyond)


def _entry(
    member: Member,
    *,
    exclusive: bool,
    full_url: str | None,
    literals: dict[ConditionalReference, str],
) -> dict[str, Any]:
    kind, fhir_id = member.resource_type, member.fhir_id
    if member.patch:
        return _patch_entry(member, member.patch)
    if member.body is None:
        return {"request": {"method": "DELETE", "url": f"{kind}/{fhir_id}"}}
    body = with_references(member.body, literals.get) if literals else member.body
    if member.create_only and member.former_id is None:
        # Not percent-encoded twice: it is a query already, and the server parses it as one.
        token = percent_encoded(search_token(member.system, member.value))
        request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={token}"}
        return {"fullUrl": full_url, "request": request, "resource": body}
    if member.home is not None:
        request = {"method": "PUT", "url": f"{kind}/{member.home}"}
        if fhir_id is not None and member.version_id is not None:
            request["ifMatch"] = f'W/"{member.version_id}"'
        return {"request": request, "resource": {**body, "id": member.home}}
    if exclusive:
        request = {"method": "POST", "url": kind}
    else:
        token = percent_encoded(search_token(member.system, member.value))
        request = {"method": "PUT", "url": f"{kind}?identifier={token}"}
    return {"fullUrl": full_url, "request": request, "resource": body}


def _patch_entry(member: Member, elements: Mapping[str, Any]) -> dict[str, Any]:
    """Elements set in what Medplum holds, if that still has the version on account.

    5.0.10 ignores If-Match on PATCH (contract §7), so the patch itself tests the version. What is
    to be removed is set first: removing what is not there would be an error.
    """
    operations: list[dict[str, Any]] = []
    if member.version_id is not None:
        operations.append({"op": "test", "path": "/meta/versionId", "value": member.version_id})
    for name, value in elements.items():
        operations.append(
            {"op": "add", "path": f"/{name}", "value": False if value is None else value}
        )
        if value is None:
            operations.append({"op": "remove", "path": f"/{name}"})
    patch = {
        "resourceType": "Binary",
        "contentType": "application/json-patch+json",
        "data": base64.b64encode(orjson.dumps(operations)).decode(),
    }
    url = f"{member.resource_type}/{member.fhir_id}"
    return {"request": {"method": "PATCH", "url": url}, "resource": patch}


def too_large(packed: Packed) -> bool:
    """Whether a submission fits in no bundle at all."""
    return len(packed.json) + _FRAME > MAX_BYTES


def take_bundle(
    queue: Iterable[Packed],
    *,
    points: int | None,
    max_entries: int = MAX_ENTRIES,
    max_bytes: int = MAX_BYTES,
) -> list[Packed]:
    """The longest beginning of ``queue`` that fits one bundle, and ``points`` if they are known.

    At least one is taken: a submission dearer than what is left has been waited for.
    """
    taken: list[Packed] = []
    size, cost = _FRAME, 0
    for each in queue:
        size += len(each.json) + 1
        cost += each.points
        beyond = size > max_bytes or len(taken) >= max_entries
        if taken and (beyond or (points is not None and cost > points)):
            break
        taken.append(each)
    return taken


def bundle_json(entries: Iterable[bytes], kind: str = "batch") -> bytes:
    """A bundle from entries that are JSON already: each is serialised once, and its size known."""
    return _HEAD % kind.encode() + b",".join(entries) + _TAIL
