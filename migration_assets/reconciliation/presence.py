"""Whether Medplum holds what the account says, by search over identifiers.

Belongs here: missing and duplicate identifiers. Content and references are compared elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from migration_assets.manifest import Manifest
from migration_assets.medplum import Fhir, find_by_identifier

PAGE = 900
"""Identifiers per search: under Medplum's limit of 1,000 matches, so that doubles still show."""


@dataclass(frozen=True)
class Presence:
    """What a search for every confirmed identifier of a type found; counts."""

    resource_type: str
    expected: int = 0
    missing: int = 0
    duplicate: int = 0
    other_id: int = 0

    @property
    def agrees(self) -> bool:
        """Whether Medplum holds each exactly once, under the id on account."""
        return not (self.missing or self.duplicate or self.other_id)


def presence(manifest: Manifest, fhir: Fhir, resource_type: str) -> Presence:
    """Search Medplum for every confirmed target of a type: 20 points per 900 resources."""
    expected = missing = duplicate = other = 0
    for page in _pages(manifest, resource_type):
        found = find_by_identifier(fhir, resource_type, page)
        for key, fhir_id in page.items():
            matches = found[key]
            expected += 1
            missing += not matches
            duplicate += len(matches) > 1
            other += len(matches) == 1 and matches[0]["id"] != fhir_id
    return Presence(resource_type, expected, missing, duplicate, other)


def _pages(manifest: Manifest, resource_type: str) -> Iterable[dict[tuple[str, str], str]]:
    after = 0
    account = manifest.reconciliations
    while page := account.on_account(resource_type, after_id=after, limit=PAGE):
        after = page[-1].id
        yield {
            (each.token.split("|", 2)[1], each.token.split("|", 2)[2]): str(each.fhir_id)
            for each in page
        }
