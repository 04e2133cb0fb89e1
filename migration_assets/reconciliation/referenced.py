"""Whether every reference leads where the source row says: to that very resource, which is there.

Belongs here: comparing references in what a search finds with what was delivered. Does not belong
here: presence and content of the resources themselves (``comparison``).

What a resource was delivered with is on account (``manifest.inventories``): an element path and the
token of the target, conditional references, back-references and links of merged patients alike.
For what was delivered before there was an inventory it is told from the row, as far as the row and
its mapping still make what was confirmed. The target's id is the account's, or that of the one
resource which carries the identifier, where somebody else writes that type. A reference to another
patient than the row's is the worst there is, and has a reason of its own.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from migration_assets.manifest import Manifest
from migration_assets.manifest.inventories import Named
from migration_assets.manifest.reconciliations import Finding, Held
from migration_assets.mapping import Mapping, Resource
from migration_assets.medplum import Fhir
from migration_assets.reconciliation.asking import AT_ONCE, Asker
from migration_assets.reconciliation.cohort import Cohort, members, of_organization, type_of
from migration_assets.reconciliation.doubts import Doubts
from migration_assets.reconciliation.evidence import Tally, begun, kept
from migration_assets.reconciliation.expectation import Expectations
from migration_assets.reconciliation.findings import Checked, Kind, ReferenceFindings
from migration_assets.reconciliation.joining import beside_account, is_on_account
from migration_assets.reconciliation.places import reference_at
from migration_assets.reconciliation.seen import Seen

_WAITING = 5_000
"""References that wait for their targets to be looked for, at most: 1 kB each. A search more for so
many references whose targets were never looked for costs 0.004 points each."""


@dataclass(frozen=True)
class _Named:
    """One reference as delivered, and as it is found."""

    held: Held
    path: str
    target: str
    expected: str | None
    found: str | None
    number: int | None
    """The account's number of the target; None where somebody else writes it."""

    def finding(self, kind: Kind, reason: str) -> Finding:
        return Finding(
            kind,
            self.held.token,
            reason,
            str(self.held.fhir_id),
            self.path,
            self.expected or "",
            self.found or "",
            self.held.unit_id,
        )


def check_references(
    manifest: Manifest,
    fhir: Fhir,
    mapping: Mapping[Any],
    *,
    resource_type: str | None = None,
    cohort: Cohort | None = None,
    clock: Callable[[], datetime],
) -> ReferenceFindings:
    """Check each reference of a type that was delivered; 20 points per 1,000 resources.

    And 20 per 900 different targets, each of which is looked for once. With a ``cohort`` only those
    of its resources, each looked for by its identifier.

    Raises:
        Transient, Permanent: as ``comparison.compare``.
    """
    cohort = cohort or Cohort(resource_type=resource_type)
    kind, scope = type_of(mapping, cohort), cohort.as_json()
    asker = fhir if isinstance(fhir, Asker) else Asker(fhir)

    def comparing(number: int) -> Tally:
        work = _Work(manifest, asker, mapping, kind, number)
        pages = _asked_for(work, cohort) if scope else asker.everything(kind)
        for page in pages:
            work.look_at(page)
        work.doubts.settle()
        work.look_for_targets()
        return work.tally

    beginning = begun(kind, Checked.REFERENCES, mapping.version, clock, scope)
    return kept(manifest, asker, beginning, clock, comparing)


def _asked_for(work: "_Work", cohort: Cohort) -> Iterator[list[Resource]]:
    """The resources of a cohort, as searches by identifier find them."""
    known = members(work.manifest, work.kind, cohort)
    for page in of_organization(work.manifest, work.expectations, known, cohort):
        found = work.asker.carrying(work.kind, (each.token.split("|", 2)[2] for each in page))
        yield [each for resources in found.values() for each in resources]


@dataclass
class _Work:
    """One check under way."""

    manifest: Manifest
    asker: Asker
    mapping: Mapping[Any]
    kind: str
    number: int
    tally: Tally = field(default_factory=Tally)
    there: Seen = field(default_factory=Seen)
    gone: set[str] = field(default_factory=set)
    waiting: dict[str, list[_Named]] = field(default_factory=dict)
    waiting_references: int = 0

    def __post_init__(self) -> None:
        self.expectations = Expectations(self.manifest, self.asker, self.mapping)
        self.notes = self.tally.notes
        self.doubts = Doubts(self.manifest, self.asker, self.kind, self.notes, self._believe)

    def look_at(self, page: list[Resource]) -> None:
        """Doubt those of a page with a reference that is not as delivered; the others are done."""
        pairs: list[tuple[Held, Resource]] = []
        for _name, held, resource in beside_account(self.manifest, self.kind, page):
            if held is not None and is_on_account(held, resource):
                pairs.append((held, resource))
        self.tally.expected += len(pairs)
        self.tally.found += len(pairs)
        doubtful: dict[str, None] = {}
        for each in self._named(pairs):
            self.notes["references"] += 1
            if each.expected is None or each.found != each.expected:
                doubtful[each.held.token] = None
            else:
                self._target_of(each)
        self.doubts.add(doubtful)

    def _believe(self, matches: dict[str, list[Resource]], account: dict[str, Held]) -> None:
        """Note what is wrong with the references of these, which stood still on both sides."""
        pairs = [
            (held, resource)
            for name, resources in matches.items()
            if (held := account.get(name)) is not None and held.live and not held.unsettled
            for resource in resources
            if resource["id"] == held.fhir_id
        ]
        wrong: list[_Named] = []
        found: list[Finding] = []
        for each in self._named(pairs):
            if each.found is None:
                found.append(each.finding(Kind.REFERENCE_MISSING, "no-reference"))
            elif each.expected is None:
                found += self._without_target(each)
            elif each.found != each.expected:
                wrong.append(each)
            else:
                self._target_of(each)
        carriers = self._carriers(wrong)
        found += [self._wrong(each, carriers) for each in wrong]
        self.manifest.reconciliations.note(self.number, found)

    def _named(self, pairs: list[tuple[Held, Resource]]) -> list[_Named]:
        """Every reference these were delivered with, beside what stands there now."""
        inventories = self._inventories([held for held, _resource in pairs])
        names = {name for named in inventories.values() for _path, name in named}
        literals = self.expectations.literals(names)
        targets = self.manifest.reconciliations.held(literals)
        return [
            _Named(
                held,
                path,
                name,
                literals.get(name),
                reference_at(resource, path),
                targets[name].id if name in targets else None,
            )
            for held, resource in pairs
            for path, name in inventories.get(held.token, ())
        ]

    def _inventories(self, held: list[Held]) -> dict[str, Named]:
        """By token; of what has no inventory it is told from the row, if that still tells it."""
        known = self.manifest.reconciliations.delivered_references(each.id for each in held)
        made = {each.token: known[each.id] for each in held if each.id in known}
        without = [each for each in held if each.id not in known]
        if without:
            told = self.expectations.references(without)
            made |= told
            self.notes["untold"] += len(without) - len(told)
        return made

    def _without_target(self, each: _Named) -> list[Finding]:
        """What leads to something of which the account knows no living resource, nor Medplum."""
        target = self.manifest.reconciliations.held([each.target]).get(each.target)
        if target is not None and target.unsettled:
            self.notes["unsettled"] += 1
            return []
        reason = "deleted" if target is not None and target.deleted else "no-target"
        return [each.finding(Kind.REFERENCE_DANGLING, reason)]

    def _carriers(self, wrong: Iterable[_Named]) -> dict[str, set[str]]:
        """Who else carries the identifiers of targets, by token: ``Type/id``."""
        by_kind: dict[str, dict[str, str]] = {}
        for each in wrong:
            kind, _system, key = each.target.split("|", 2)
            by_kind.setdefault(kind, {})[key] = each.target
        return {
            keys[key]: {f"{kind}/{one['id']}" for one in resources}
            for kind, keys in by_kind.items()
            for key, resources in self.asker.carrying(kind, keys).items()
        }

    def _wrong(self, each: _Named, carriers: dict[str, set[str]]) -> Finding:
        """Another patient, a twin of the right resource, or another resource."""
        if each.found in carriers.get(each.target, ()):
            return each.finding(Kind.REFERENCE_WRONG, "twin")
        kind = each.target.split("|", 1)[0]
        return each.finding(Kind.REFERENCE_WRONG, f"another-{kind.lower()}")

    def _target_of(self, each: _Named) -> None:
        """Have it looked for, unless it was, or was just found under its identifier."""
        literal = str(each.expected)
        if each.number is None or each.number in self.there:
            return
        if literal in self.gone:
            self._dangles([each])
            return
        self.waiting.setdefault(literal, []).append(each)
        self.waiting_references += 1
        if len(self.waiting) >= AT_ONCE or self.waiting_references >= _WAITING:
            self.look_for_targets()

    def look_for_targets(self) -> None:
        """Search for all targets that references lead to and that were not looked for yet."""
        waiting, self.waiting, self.waiting_references = self.waiting, {}, 0
        by_kind: dict[str, list[str]] = {}
        for literal in waiting:
            kind, fhir_id = literal.split("/", 1)
            by_kind.setdefault(kind, []).append(fhir_id)
        there = {
            f"{kind}/{each['id']}"
            for kind, ids in by_kind.items()
            for each in self.asker.with_ids(kind, ids)
        }
        for literal, references in waiting.items():
            if literal in there:
                self.there.add(references[0].number or 0)
            else:
                self.gone.add(literal)
                self._dangles(references)

    def _dangles(self, references: list[_Named]) -> None:
        """Note them, unless the account says by now that the target is elsewhere or under way."""
        targets = self.manifest.reconciliations.held({each.target for each in references})
        found: list[Finding] = []
        for each in references:
            target = targets.get(each.target)
            kind = each.target.split("|", 1)[0]
            if target is None or target.unsettled or f"{kind}/{target.fhir_id}" != each.expected:
                self.notes["unsettled"] += 1
            else:
                found.append(each.finding(Kind.REFERENCE_DANGLING, "not-found"))
        self.manifest.reconciliations.note(self.number, found)
