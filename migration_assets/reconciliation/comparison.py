"""Comparing a type on account with what Medplum holds: by search, in bounded memory, in two looks.

Belongs here: who is asked what and in which order, and when a difference is believed. Does not
belong here: the verdict over one identifier (``judging``), content (``expectation``,
``differences``), references (``referenced``).

A whole type is walked through once, 20 points per 1,000 resources, each page joined with the
account; a bit per resource remembers who was met. A cohort or a sample is asked for by its
identifiers, 20 points per 900. Whatever does not agree gets a second look: it is searched for
by its identifier, with the account read before and after. Only what both looks agree on, and what
the account did not change meanwhile, is a finding: a run may be writing all the time.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from migration_assets.manifest import Manifest
from migration_assets.manifest.reconciliations import Finding, Held
from migration_assets.mapping import Mapping, Resource
from migration_assets.medplum import Fhir
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.cohort import Cohort, drawn, members, of_organization, type_of
from migration_assets.reconciliation.differences import differences
from migration_assets.reconciliation.doubts import Doubts
from migration_assets.reconciliation.evidence import Tally, begun, kept
from migration_assets.reconciliation.expectation import Expectations
from migration_assets.reconciliation.findings import Checked, Comparison, Kind
from migration_assets.reconciliation.joining import beside_account, is_on_account
from migration_assets.reconciliation.judging import judge, lost
from migration_assets.reconciliation.seen import Seen


def compare(
    manifest: Manifest,
    fhir: Fhir,
    mapping: Mapping[Any],
    *,
    cohort: Cohort | None = None,
    deep: bool = False,
    sample: int | None = None,
    seed: int = 0,
    clock: Callable[[], datetime],
) -> Comparison:
    """Compare what the account says of a type with what a search of Medplum finds.

    Args:
        manifest: the account; findings and evidence are kept in it.
        fhir: the project. Nothing is written to it. An ``Asker`` where several comparisons are to
            be watched or added up together.
        mapping: what makes the type.
        cohort: only part of it (``cohort``): what is unexpected is then not looked for. Its
            ``resource_type`` names one of the mapping's types that is not the main one.
        deep: whether content is compared too, element by element.
        sample: only so many resources, by lot; ``seed`` draws the same again.
        seed: see ``sample``.
        clock: the time, aware, for the evidence.

    Raises:
        Transient: Medplum said not now for longer than the patience; the evidence says cut off.
        Permanent: it refused to search, or the mapping does not make the type.
    """
    cohort = cohort or Cohort()
    kind = type_of(mapping, cohort)
    asker = fhir if isinstance(fhir, Asker) else Asker(fhir)
    scope: dict[str, Any] = cohort.as_json()
    if sample is not None:
        scope |= {"sample": sample, "seed": seed}

    def comparing(number: int) -> Tally:
        work = _Work(manifest, asker, mapping, kind, number, deep=deep)
        if scope:
            _ask_for(work, cohort, sample, seed)
        else:
            _walk(work)
        return Tally(work.expected, len(work.seen), work.notes)

    checked = Checked.CONTENT if deep else Checked.IDENTIFIERS
    beginning = begun(kind, checked, mapping.version, clock, scope)
    return kept(manifest, asker, beginning, clock, comparing)


@dataclass
class _Work:
    """One comparison under way."""

    manifest: Manifest
    asker: Asker
    mapping: Mapping[Any]
    kind: str
    number: int
    deep: bool
    expected: int = 0
    seen: Seen = field(default_factory=Seen)
    notes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.expectations = Expectations(self.manifest, self.asker, self.mapping)
        self.doubts = Doubts(self.manifest, self.asker, self.kind, self.notes, self._believe)

    def _believe(self, matches: dict[str, list[Resource]], account: dict[str, Held]) -> None:
        """Note what is wrong with these identifiers, of which neither side moved."""
        found: list[Finding] = []
        pairs: list[tuple[Held, Resource]] = []
        for name, resources in matches.items():
            held = account.get(name)
            if held is not None and held.unsettled and len(resources) <= 1:
                self.notes["unsettled"] += 1
                continue
            found += judge(name, held, resources)
            ours = [each for each in resources if held is not None and each["id"] == held.fhir_id]
            if held is not None and held.live and ours:
                self.seen.add(held.id)
                pairs.append((held, ours[0]))
        if self.deep:
            found += [
                Finding(
                    Kind.CHANGED, held.token, way, str(held.fhir_id), path, unit_id=held.unit_id
                )
                for held, paths in self.changed(pairs).items()
                for path, way in paths
            ]
        self.manifest.reconciliations.note(self.number, self._told_apart(found))

    def _told_apart(self, found: list[Finding]) -> list[Finding]:
        """The same; of what is missing it is known whether only its identifier is."""
        missing = [each.fhir_id for each in found if each.kind == Kind.MISSING]
        there = {str(each["id"]) for each in self.asker.with_ids(self.kind, missing)}
        return [
            lost(each) if each.kind == Kind.MISSING and each.fhir_id in there else each
            for each in found
        ]

    def changed(self, pairs: list[tuple[Held, Resource]]) -> dict[Held, list[tuple[str, str]]]:
        """Those whose content is not what Medplum last confirmed: element paths, and in what way.

        Where the row or the mapping changed since, only the version tells.
        """
        expected = self.expectations.of([held for held, _resource in pairs])
        made: dict[Held, list[tuple[str, str]]] = {}
        for held, resource in pairs:
            known = expected.get(held.token)
            if known is not None:
                paths = [(e.path, e.way) for e in differences(known, resource)]
            elif self.mapping.create_only or resource["meta"]["versionId"] == held.version_id:
                continue
            else:
                paths = [("", "version")]
            if paths:
                made[held] = paths
        return made


def _walk(work: _Work) -> None:
    """The whole type: everything under our system, then whoever was not met."""
    for page in work.asker.everything(work.kind, fields=None if work.deep else ()):
        _join(work, page)
    work.doubts.settle()
    for held in members(work.manifest, work.kind, Cohort()):
        work.expected += len(held)
        work.doubts.add(each.token for each in held if each.id not in work.seen)
    work.doubts.settle()


def _join(work: _Work, page: list[Resource]) -> None:
    """One page of what Medplum holds, beside the account."""
    pairs: list[tuple[Held, Resource]] = []
    doubtful: list[str] = []
    for name, held, resource in beside_account(work.manifest, work.kind, page):
        if held is None or not is_on_account(held, resource):
            doubtful.append(name)
        else:
            work.seen.add(held.id)
            work.notes["other_version"] += resource["meta"]["versionId"] != held.version_id
            pairs.append((held, resource))
    if work.deep:
        doubtful += [held.token for held in work.changed(pairs)]
    work.doubts.add(doubtful)


def _ask_for(work: _Work, cohort: Cohort, sample: int | None, seed: int) -> None:
    """A cohort or a sample: each of its resources by identifier, and each that was deleted."""
    known = members(work.manifest, work.kind, cohort)
    pages = of_organization(work.manifest, work.expectations, known, cohort)
    if sample is not None:
        pages = iter([drawn(pages, size=sample, seed=seed)])
    for page in pages:
        work.expected += len(page)
        work.doubts.add(each.token for each in page)
    if sample is None:
        gone = members(work.manifest, work.kind, cohort, deleted=True)
        for page in of_organization(work.manifest, work.expectations, gone, cohort):
            work.doubts.add(each.token for each in page)
    work.doubts.settle()
