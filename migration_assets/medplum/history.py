"""Histories: which versions of a resource Medplum keeps, newest first (contract §7).

Belongs here: reading them, many at once. Does not belong here: what follows from them. A history
comes from the database, unlike a read by id, which may show what was rolled back (contract §3); so
its first version is what Medplum holds now.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from migration_assets.errors import Permanent
from migration_assets.mapping import Resource
from migration_assets.medplum.bundles import bundle_json
from migration_assets.medplum.client import Fhir
from migration_assets.medplum.looking import Looker, version_of
from migration_assets.medplum.outcomes import Fate, entry_outcome
from migration_assets.medplum.wire import Ambiguous, Throttled

_POINTS = 10  # contract §8
_AT_ONCE = 50  # histories of one batch
_FIRST, _MORE = 2, 20  # versions per page: mostly only our own and the one before it are wanted


@dataclass(frozen=True)
class Version:
    """One version; without a resource it is the trace of a deletion, without an id too."""

    version_id: str | None
    resource: Resource | None


def read_histories(
    fhir: Fhir, looker: Looker, wanted: Mapping[tuple[str, str], str | None]
) -> dict[tuple[str, str], list[Version]]:
    """Versions of each (type, id), newest first, down to one past the version named for it.

    Without a named version: down to the newest that is not a deletion. A resource Medplum knows
    nothing of has none.

    Raises:
        Transient: Medplum would not tell before the looker's deadline.
        Permanent: it refuses to tell.
    """
    told: dict[tuple[str, str], list[Version]] = {each: [] for each in wanted}
    todo, size = list(wanted), _FIRST
    while todo:
        part, todo_later = todo[:_AT_ONCE], todo[_AT_ONCE:]
        urls = [
            f"{kind}/{fhir_id}/_history?_count={size}&_offset={len(told[kind, fhir_id])}"
            for kind, fhir_id in part
        ]
        pages = looker.patiently(lambda urls=urls: _pages(fhir, urls))  # type: ignore[misc]  # the default binds the loop's own
        for address, page in zip(part, pages, strict=True):
            told[address] += page
            if len(page) == size and not _suffices(told[address], wanted[address]):
                todo_later.append(address)
        todo = todo_later
        size = _FIRST if todo and not told[todo[0]] else _MORE
    return told


def _suffices(versions: list[Version], named: str | None) -> bool:
    """Whether the version before the named one is among them, or the last one that lived."""
    if named is None:
        return any(each.resource is not None for each in versions)
    places = [at for at, each in enumerate(versions) if each.version_id == named]
    if not places:
        return False
    return any(each.resource is not None for each in versions[places[0] + 1 :])


def _pages(fhir: Fhir, urls: Iterable[str]) -> list[list[Version]]:
    entries = [orjson.dumps({"request": {"method": "GET", "url": url}}) for url in urls]
    with fhir.pacer.reserve(_POINTS * len(entries)):
        answers = fhir.post_bundle(bundle_json(entries), len(entries))
    return [_page(each) for each in answers]


def _page(answer: Mapping[str, Any]) -> list[Version]:
    outcome = entry_outcome(answer)
    match outcome.fate:
        case Fate.DONE:
            listed = (answer.get("resource") or {}).get("entry") or ()
            return [_version(each) for each in listed]
        case Fate.GONE:
            return []
        case Fate.WAIT:
            raise Throttled("Reading histories was throttled (429).", retry_after=outcome.wait)
        case Fate.RETRY:
            raise Ambiguous("Reading histories was not answered whole.")
        case _:
            raise Permanent(
                f"Reading histories was refused ({outcome.status} {outcome.code or ''}). "
                "The AccessPolicy of the ClientApplication must permit reading history."
            )


def _version(entry: Mapping[str, Any]) -> Version:
    resource = entry.get("resource")
    if not isinstance(resource, dict):
        return Version(None, None)
    return Version(version_of(resource), resource)
