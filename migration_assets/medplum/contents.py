"""What a resource says, apart from what Medplum adds to it.

Belongs here: comparing what was sent with what is held. Does not belong here: fetching either.
"""

from typing import Any

from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.mapping import Resource

DELETION = "deletion"
"""What stands for a deletion among the prints of what was sent."""

_ADDED = ("versionId", "lastUpdated", "author", "project", "compartment")


def stripped(resource: Resource | None) -> Resource:
    """A resource without what Medplum adds to it."""
    kept = {name: value for name, value in (resource or {}).items() if name != "id"}
    meta = dict(kept.pop("meta", None) or {})
    for added in _ADDED:
        meta.pop(added, None)
    return {**kept, "meta": meta} if meta else kept


def content_print(resource: Resource) -> str:
    """The same for what was sent and for what Medplum made of it: 1.0 comes back as 1."""
    return fingerprint(_as_stored(stripped(resource)))


def _as_stored(value: Any) -> Any:
    match value:
        case dict():
            return {name: _as_stored(each) for name, each in value.items()}
        case list():
            return [_as_stored(each) for each in value]
        case float() if value.is_integer():
            return int(value)
    return value
