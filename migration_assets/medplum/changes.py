"""What was changed in Medplum since a moment, by whomever.

Belongs here: searching by ``_lastUpdated``, page by page, and giving a resource an identifier.
Does not belong here: what is on account of it (``manifest``), or what follows.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial

import orjson

from migration_assets.errors import Permanent
from migration_assets.mapping import Resource
from migration_assets.medplum.bundles import bundle_json
from migration_assets.medplum.client import SEARCH_COUNT, Fhir
from migration_assets.medplum.looking import Looker, version_of
from migration_assets.medplum.outcomes import Fate, Outcome, entry_outcome
from migration_assets.medplum.quota import WRITE_POINTS
from migration_assets.medplum.walking import walk


def changed_since(
    fhir: Fhir, looker: Looker, resource_type: str, since: datetime
) -> Iterator[list[Resource]]:
    """Every resource of a type that was written at or after ``since``, oldest first.

    What is written meanwhile comes at the end, perhaps a second time.

    Raises:
        Transient: Medplum would not answer before the looker's deadline.
        Permanent: it refuses the search.
    """
    moment = since.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def search(kind: str, asked: Mapping[str, str]) -> list[Resource]:
        return looker.patiently(partial(fhir.search, kind, asked))

    yield from walk(search, resource_type, {}, since=moment, count=SEARCH_COUNT)


def updated_at(resource: Resource) -> str:
    """When Medplum says that a version was written."""
    return str((resource.get("meta") or {}).get("lastUpdated", ""))


def put_over(fhir: Fhir, resource: Resource, *, body: Resource) -> str | None:
    """Write ``body`` over exactly that version of a resource; the new version, or None.

    None: it has another version by now, or Medplum did not say what became of it. Look again.

    Raises:
        Transient, Permanent: as ``Fhir.post_bundle``; Permanent, too, if it is refused for good.
    """
    kind, fhir_id = str(resource["resourceType"]), str(resource["id"])
    request = {
        "method": "PUT",
        "url": f"{kind}/{fhir_id}",
        "ifMatch": f'W/"{version_of(resource)}"',
    }
    entry = orjson.dumps({"request": request, "resource": body})
    with fhir.pacer.reserve(WRITE_POINTS):
        (answer,) = fhir.post_bundle(bundle_json([entry]), 1)
    outcome: Outcome = entry_outcome(answer)
    if outcome.fate is Fate.DONE:
        return outcome.version_id
    if outcome.fate in (Fate.WAIT, Fate.RETRY, Fate.EDITED, Fate.GONE):
        return None
    raise Permanent(
        f"Adding an identifier to a {kind} was refused ({outcome.status} {outcome.code or ''}). "
        "The AccessPolicy of the ClientApplication must permit writing the type."
    )
