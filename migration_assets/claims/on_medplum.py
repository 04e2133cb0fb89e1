"""Claims about a type that only Medplum can prove, read from the evidence of a comparison.

Belongs here: which findings speak against which claim, and what is said where there is no evidence.
Does not belong here: comparing (``reconciliation``), or Dagster.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from migration_assets.claims.on_account import Claim, nothing_claimed
from migration_assets.counting import several
from migration_assets.manifest.reconciliations import Reconciliation
from migration_assets.reconciliation.findings import Checked, Kind

HELD = "medplum_holds_what_the_manifest_says"
UNIQUE = "identifiers_unique"
RESOLVE = "references_resolve"

_REPAIRS = {
    Kind.MISSING: "missing",
    Kind.DUPLICATE: "duplicates",
    Kind.REFERENCE_MISSING: "references",
    Kind.REFERENCE_WRONG: "references",
}
"""What `migration reconcile --repair` mends by itself, as far as the account proves it."""


_HINDERS = frozenset(
    {
        Kind.MISSING,
        Kind.OTHER_ID,
        Kind.DUPLICATE,
        Kind.REFERENCE_MISSING,
        Kind.REFERENCE_WRONG,
        Kind.REFERENCE_DANGLING,
    }
)
"""What keeps the types that refer to a type from starting."""


@dataclass(frozen=True)
class Question:
    """One claim: which kinds of findings speak against it, in which comparisons they turn up."""

    name: str
    description: str
    against: frozenset[Kind]
    checked: tuple[Checked, ...]


QUESTIONS = (
    Question(
        HELD,
        "Every resource on account is found by its identifier, under the id on account; nothing "
        "else is found under our identifier system. Compared by content where that is asked for.",
        frozenset({Kind.MISSING, Kind.UNEXPECTED, Kind.OTHER_ID, Kind.STILL_FOUND, Kind.CHANGED}),
        (Checked.IDENTIFIERS, Checked.CONTENT),
    ),
    Question(
        UNIQUE,
        "No two resources carry one of our identifiers.",
        frozenset({Kind.DUPLICATE}),
        (Checked.IDENTIFIERS, Checked.CONTENT),
    ),
    Question(
        RESOLVE,
        "Every reference that was delivered leads to the resource that the source row names.",
        frozenset({Kind.REFERENCE_MISSING, Kind.REFERENCE_WRONG, Kind.REFERENCE_DANGLING}),
        (Checked.REFERENCES,),
    ),
)


def latest_whole(found: Iterable[Reconciliation], question: Question) -> Reconciliation | None:
    """The newest evidence about a claim that came to its end and covers the whole type."""
    return next(
        (
            each
            for each in found
            if each.finished_at is not None
            and not each.scope
            and each.checked in {one.value for one in question.checked}
        ),
        None,
    )


def judged(
    question: Question, resource_type: str, evidence: Reconciliation | None, *, now: datetime
) -> Claim:
    """What a comparison says of a claim; ``now`` tells how old it is."""
    if evidence is None or evidence.finished_at is None:
        return nothing_claimed(
            f"{resource_type} was never compared with Medplum as a whole.",
            "launch the job reconcile, or execute this check",
        )
    age = max(0, int((now - evidence.finished_at).total_seconds()))
    against: Mapping[str, int] = {
        kind.value: number
        for kind in sorted(question.against)
        if (number := evidence.counts.get(kind.value, 0))
    }
    found = sum(against.values())
    counts = {
        "expected": evidence.expected,
        "found": evidence.found,
        "findings": found,
        "age_seconds": age,
        "points": evidence.points,
        **{f"note/{name}": number for name, number in evidence.notes.items()},
    }
    part = " of a part of the type" if evidence.scope else ""
    against_it = f"{several(found, 'finding speaks', 'findings speak')} against this"
    said = (
        f"Comparison {evidence.id}{part} ({evidence.checked}) at "
        f"{evidence.finished_at:%Y-%m-%d %H:%M} UTC: {evidence.expected:,} on account, "
        f"{evidence.found:,} found; {against_it if found else 'nothing speaks against this'}."
    )
    told = _told(evidence)
    if not found:
        return Claim(holds=True, said=said, counts=counts, evidence=told)
    mend = _mend(resource_type, against)
    return Claim(holds=False, said=said, counts=counts, evidence=told, reasons=against, mend=mend)


def hindrance(resource_type: str, found: Iterable[Reconciliation]) -> str:
    """Why nothing may be built on a type, by its last whole comparisons; empty if it may.

    What people edited in Medplum, and what others put there, is no hindrance: what refers to a
    resource is wrong only where that is missing, doubled, another one, or refers to another.
    """
    listed = list(found)
    said: list[str] = []
    for each in QUESTIONS:
        evidence = latest_whole(listed, each)
        counts = {
            kind.value: evidence.counts.get(kind.value, 0)
            for kind in sorted(each.against & _HINDERS)
            if evidence is not None and evidence.counts.get(kind.value)
        }
        if evidence is None or not counts:
            continue
        told = ", ".join(f"{number:,} {kind}" for kind, number in counts.items())
        again = " --references" if each.name == RESOLVE else ""
        mend = _mend(resource_type, counts).removesuffix("; then execute this check again")
        said.append(
            f"comparison {evidence.id} with Medplum found {told}. {mend}; then `migration "
            f"reconcile {resource_type}{again}` again, which has to find none."
        )
    return " ".join(said)


def _told(evidence: Reconciliation) -> dict[str, str]:
    """What was looked at, when, for which mapping: what a reader needs to believe it, or to ask."""
    began, ended = evidence.started_at, evidence.finished_at
    ways = {
        Checked.IDENTIFIERS: "every identifier and id",
        Checked.CONTENT: "every identifier and id, and the content of what was found",
        Checked.REFERENCES: "every reference that was delivered, and what it leads to",
    }
    # A cohort may be named by a key: numbers only.
    parts = sorted(each for each in evidence.scope.items() if isinstance(each[1], int))
    scope = ", ".join(f"{name} {number}" for name, number in parts)
    return {
        "comparison": f"number {evidence.id}; `migration reconcile --list` shows it",
        "compared": ways[Checked(evidence.checked)],
        "of": f"a part of the type {scope}".strip() if evidence.scope else "the whole type",
        "searched": f"{evidence.query} ({several(evidence.searches, 'search', 'searches')})",
        "when": f"{began:%Y-%m-%d %H:%M:%S} to {ended:%H:%M:%S} UTC" if ended else "cut off",
        "mapping": f"version {evidence.mapping_version}" if evidence.mapping_version else "unknown",
        "counted": f"{several(evidence.expected, 'resource')} on account, "
        f"{several(evidence.found, 'resource')} found in Medplum",
    }


def _mend(resource_type: str, against: Iterable[str]) -> str:
    """What is done about findings of these kinds."""
    command = f"migration reconcile {resource_type}"
    repairs = dict.fromkeys(_REPAIRS[Kind(each)] for each in against if Kind(each) in _REPAIRS)
    said = [f"`{command} --repair {each} --yes`" for each in repairs]
    by_hand = [each for each in against if Kind(each) not in _REPAIRS]
    if by_hand:
        said.append(f"`{command}` says what a person decides about {', '.join(by_hand)}")
    return "; ".join([*said, "then execute this check again"])
