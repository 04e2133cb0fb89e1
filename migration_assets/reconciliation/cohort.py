"""Which part of a type is compared: a cohort, or a sample drawn by lot.

Belongs here: what a cohort is and how membership is told. Does not belong here: comparing.

How each is told:

- *stream*: the stream whose row the resource was made of (the account knows it). A type may come
  from several streams; a stream's variant is a stream of its own in the source's description.
- *period*: the row's change time at the source, half-open [since, until): the same time by which
  Dagster's partitions are cut. Rows without one belong to no period.
- *written since*: what Medplum confirmed to us from a moment on: the second look at what was
  written while, or after, the whole was compared.
- *organization*: the source's key of an organization. The resource refers to it itself
  (``Patient.managingOrganization``, ``Encounter.serviceProvider``, …), is it, or refers to a
  patient, encounter or other resource of ours that does: one step, told from the landed rows.

What is unexpected belongs to no cohort and no sample, as there is no row to tell by: only a whole
comparison finds it.
"""

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from migration_assets.errors import Permanent
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, token
from migration_assets.manifest.reconciliations import Held
from migration_assets.mapping import Mapping

_PAGE = 1_000


class Mentions(Protocol):
    """Who can tell what resources refer to; ``expectation.Expectations`` does."""

    def mentions(self, held: Iterable[Held]) -> dict[str, set[str]]:
        """Tokens that each resource refers to, by its own."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Part of a type; what is None does not narrow it.

    ``resource_type`` is the type itself, where it is not the main one of its mapping.
    """

    resource_type: str | None = None
    stream: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    organization: str | None = None
    written_since: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """What narrows it, for the evidence."""
        every = {
            "stream": self.stream,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "organization": self.organization,
            "written_since": self.written_since and self.written_since.isoformat(),
        }
        return {name: value for name, value in every.items() if value is not None}


def type_of(mapping: Mapping[Any], cohort: Cohort) -> str:
    """The type a cohort is of.

    Raises:
        Permanent: the mapping does not make it.
    """
    kind = cohort.resource_type or mapping.resource_type
    if kind not in mapping.types:
        raise Permanent(
            f"The mapping of {mapping.stream} makes no {kind}: {', '.join(mapping.types)}."
        )
    return kind


def members(
    manifest: Manifest, resource_type: str, cohort: Cohort, *, deleted: bool = False
) -> Iterator[list[Held]]:
    """The resources of a cohort by what the account's columns tell, page by page.

    Membership of an organization is left to who can map rows (``expectation``).
    """
    after = 0
    while page := manifest.reconciliations.on_account(
        resource_type,
        after_id=after,
        limit=_PAGE,
        stream=cohort.stream,
        since=cohort.since,
        until=cohort.until,
        written_since=cohort.written_since,
        deleted=deleted,
    ):
        after = page[-1].id
        yield page


def of_organization(
    manifest: Manifest, expectations: Mentions, pages: Iterator[list[Held]], cohort: Cohort
) -> Iterator[list[Held]]:
    """Those of an organization, if the cohort names one."""
    if cohort.organization is None:
        yield from pages
        return
    wanted = token("Organization", identifier_system("Organization"), cohort.organization)
    for page in pages:
        mentions = expectations.mentions(page)
        beyond = manifest.reconciliations.named_by(
            {name for each in mentions.values() for name in each}
        )
        yield [
            each
            for each in page
            if each.token == wanted
            or wanted in mentions[each.token]
            or any(wanted in beyond.get(name, ()) for name in mentions[each.token])
        ]


def drawn(pages: Iterator[list[Held]], *, size: int, seed: int) -> list[Held]:
    """``size`` resources by lot, in order of account; the same seed draws the same ones again.

    Lots are drawn by token, so that what is delivered later displaces few of a sample.
    """
    lots = ((_lot(each.token, seed), each.id, each) for page in pages for each in page)
    return sorted((each for *_lot, each in heapq.nsmallest(size, lots)), key=lambda each: each.id)


def _lot(token: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed} {token}".encode(errors="replace"), digest_size=8).digest()
