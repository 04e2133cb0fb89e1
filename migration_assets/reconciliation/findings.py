"""What a comparison can find, and what it returns.

Belongs here: the kinds and reasons of findings as words, and the value that a comparison ends in.
Does not belong here: finding anything, or keeping it (``manifest.reconciliations``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from migration_assets.manifest import Manifest
from migration_assets.manifest.reconciliations import Finding, Reconciliation

EXAMPLES = 20
"""Findings of each kind that a comparison carries with it; all of them are in the manifest."""


class Kind(StrEnum):
    """How the account and Medplum can differ."""

    MISSING = "missing"
    """The account says it is there; no search by its identifier finds it."""
    UNEXPECTED = "unexpected"
    """Under our identifier system, and not on account."""
    DUPLICATE = "duplicate"
    """One identifier, several resources; one finding for each that is not the one on account."""
    OTHER_ID = "other-id"
    """Its identifier is carried by one resource, which is not the one on account."""
    STILL_FOUND = "still-found"
    """The account says it was deleted; a search finds it."""
    CHANGED = "changed"
    """Its content is not what Medplum last confirmed to us; a finding for each element."""
    REFERENCE_MISSING = "reference-missing"
    """What was delivered as a reference is no reference any more."""
    REFERENCE_WRONG = "reference-wrong"
    """A reference leads to another resource than the source row names."""
    REFERENCE_DANGLING = "reference-dangling"
    """A reference leads to the right resource, which no search finds."""


class Checked(StrEnum):
    """How thoroughly was compared."""

    IDENTIFIERS = "identifiers"
    CONTENT = "content"
    REFERENCES = "references"


@dataclass(frozen=True)
class Comparison:
    """A comparison that came to its end: its evidence, and some findings of each kind."""

    evidence: Reconciliation
    examples: Mapping[str, tuple[Finding, ...]]

    @property
    def agrees(self) -> bool:
        """Whether nothing was found."""
        return self.evidence.agrees

    @property
    def counts(self) -> dict[str, int]:
        """Findings by kind; kinds of which none was found are left out."""
        return {kind: number for kind, number in self.evidence.counts.items() if number}

    def concerns(self, kinds: Iterable[Kind]) -> bool:
        """Whether there are findings of one of these kinds."""
        return any(self[each] for each in kinds)

    def __getitem__(self, kind: Kind) -> int:
        """How many findings of a kind there are."""
        return self.evidence.counts.get(kind.value, 0)


ReferenceFindings = Comparison
"""What ``check_references`` returns: the same, with findings about references only."""


def all_findings(
    manifest: Manifest, number: int, kind: str | None = None, *, page: int = 500
) -> Iterator[Finding]:
    """Every finding of a comparison, read page by page."""
    after = 0
    while found := manifest.reconciliations.findings(number, kind=kind, after_id=after, limit=page):
        after = found[-1].id
        yield from found


def examples(manifest: Manifest, evidence: Reconciliation) -> dict[str, tuple[Finding, ...]]:
    """The first findings of each kind."""
    return {
        kind: tuple(manifest.reconciliations.findings(evidence.id, kind=kind, limit=EXAMPLES))
        for kind in evidence.counts
    }
