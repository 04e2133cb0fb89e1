"""Patients for people to review: each with its row, its related rows, and what is missing.

Belongs here: putting a chosen patient's page together from the account. Does not belong here: who
is chosen (``choosing``), or which field became which element (``pairs``).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import find_references
from migration_assets.manifest import Manifest, token
from migration_assets.manifest.payload import PURGED
from migration_assets.manifest.records import chunked
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.mapping import Resource
from migration_assets.profiling.places import places, value_at
from migration_assets.reconciliation.expectation import delivered_of
from migration_assets.signoff.choosing import Chosen, choose, counted
from migration_assets.signoff.pairs import Pairing
from migration_assets.signoff.values import Chart, Charts, NotArrived, RelatedLine, RowPage
from migration_assets.signoff.withholding import Withholding
from migration_assets.steps.preparation import mapped
from migration_assets.steps.transforming import bound

PATIENT = "Patient"
SHOWN = 3
"""Related rows of one type that a chart shows; the others are counted."""
_MOST_HELD = 50_000
_LETTERS = {"repeatable": "A", "random": "B", "risk": "C"}


def make_charts(
    manifest: Manifest,
    mappings: Sequence[MappingOf[Any]],
    every: Sequence[MappingOf[Any]],
    names: Withholding,
    puller: Mapping[str, Mapping[str, str]],
    *,
    seed: int,
    of_each: int,
) -> Charts | None:
    """Charts of patients; None where no chosen type is of patients or refers to them.

    ``mappings`` are those the report is about, ``every`` all there are. ``puller``: by stream the
    fields that the puller reads.
    """
    patients = next((each for each in every if PATIENT in each.types), None)
    about = [each for each in mappings if PATIENT in (*each.types, *each.after)]
    if patients is None or not about:
        return None
    related = counted(manifest.contents.sign_off.referring(PATIENT))
    chosen = choose(manifest, patients, seed=seed, of_each=of_each, related=related)
    rows, deleted = manifest.contents.counts().get(patients.stream, (0, 0))
    others = [each for each in about if each is not patients]
    pairings = {
        each.stream: Pairing(each, names, puller.get(each.stream, {}))
        for each in (patients, *others)
    }
    maker = _Charts(manifest, patients, others, names, pairings)
    return Charts(
        seed=seed,
        of_each=of_each,
        patients=rows - deleted,
        purged=manifest.contents.purged(patients.stream),
        charts=maker.of(chosen),
    )


class _Charts:
    """Makes the charts of some chosen patients together: the account is gone through once."""

    def __init__(
        self,
        manifest: Manifest,
        patients: MappingOf[Any],
        others: Sequence[MappingOf[Any]],
        names: Withholding,
        pairings: Mapping[str, Pairing],
    ) -> None:
        self._manifest = manifest
        self._patients = patients
        self._others = others
        self._names = names
        self._pairings = pairings

    def of(self, chosen: Sequence[Chosen]) -> tuple[Chart, ...]:
        keys = [each.key for each in chosen]
        units: dict[str, SettledUnit] = {}
        for part in chunked(keys):
            units.update(self._manifest.remapping.on_account(self._patients.stream, part))
        related, missing = self._related(keys), self._not_arrived(keys)
        numbers: defaultdict[str, int] = defaultdict(int)
        made = []
        for each in chosen:
            if each.key in units:
                numbers[each.way] += 1
                made.append(
                    Chart(
                        name=f"{_LETTERS[each.way]}{numbers[each.way]}",
                        way=each.way,
                        why=each.why,
                        row=self._page(units[each.key]),
                        related=self._lines(related.get(each.key, {})),
                        not_arrived=tuple(missing.get(each.key, ())),
                    )
                )
        return tuple(made)

    def _related(self, keys: Sequence[str]) -> dict[str, dict[str, list[int]]]:
        """Units by patient and type that were delivered with a reference to the patient."""
        wanted = {token(PATIENT, identifier_system(PATIENT), key): key for key in keys}
        naming: dict[int, list[str]] = {}
        for page in self._manifest.contents.sign_off.referring(PATIENT):
            for number, tokens in page:
                found = [wanted[name] for name in dict.fromkeys(tokens) if name in wanted]
                if found:
                    naming[number] = found
        owners = self._manifest.contents.sign_off.units_of(naming)
        main = {each.stream: each.resource_type for each in self._others}
        made: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, patients in naming.items():
            _kind, unit, stream, _key = owners[number]
            for key in patients:
                if stream in main and unit not in made[key][main[stream]]:
                    made[key][main[stream]].append(unit)
        return made

    def _lines(self, by_type: Mapping[str, Sequence[int]]) -> tuple[RelatedLine, ...]:
        lines = []
        for kind, numbers in sorted(by_type.items()):
            shown = self._manifest.remapping.settled(sorted(numbers)[-SHOWN:])
            pages = tuple(self._page(each) for each in reversed(shown))
            lines.append(RelatedLine(resource_type=kind, count=len(numbers), shown=pages))
        return tuple(lines)

    def _not_arrived(self, keys: Sequence[str]) -> dict[str, list[NotArrived]]:
        """Held back rows that name one of these patients where the examples name theirs."""
        wanted, found = set(keys), defaultdict(list)
        for mapping in self._others:
            paths = _patient_fields(mapping)
            held = (
                each
                for page in self._manifest.contents.sign_off.held_rows(mapping.stream)
                for each in page
            )
            for each in islice(held, _MOST_HELD):
                if not isinstance(each.row, dict):
                    continue
                named = {value_at(each.row, path) for path in paths if path}
                for key in sorted(wanted & {one for one in named if isinstance(one, str)}):
                    found[key].append(
                        NotArrived(
                            resource_type=mapping.resource_type,
                            key=self._names.key(mapping.stream, each.key),
                            state=each.state.value,
                            reason=each.reason,
                            field=each.field,
                        )
                    )
        return found

    def _page(self, settled: SettledUnit) -> RowPage:
        unit = settled.unit
        pairing = self._pairings[unit.stream]
        source, resources = self._resources(settled, pairing.mapping)
        pairs, added = ((), ()) if source == "purged" else pairing.pairs(unit.row, resources)
        types = [str(each["resourceType"]) for each in resources]
        return RowPage(
            resource_types=tuple(types) or (pairing.mapping.resource_type,),
            stream=unit.stream,
            key=self._names.key(unit.stream, unit.key),
            state=settled.state.value,
            reason=settled.reason,
            field=settled.field,
            deleted=unit.deleted,
            source=source,
            pairs=pairs,
            added=added,
        )

    def _resources(
        self, settled: SettledUnit, mapping: MappingOf[Any]
    ) -> tuple[str, Sequence[Resource]]:
        """What Medplum confirmed, if the account proves it; else what the mapping makes now."""
        unit = settled.unit
        if unit.row is PURGED:
            return "purged", ()
        mapping = bound(mapping, self._manifest, None)
        live = {each.token for each in unit.targets if not each.deleted and each.fhir_id}
        known = delivered_of(mapping, unit, live) if live else {}
        if live and known.keys() == live:
            return "confirmed", [body for body, _references in known.values()]
        made = mapped(mapping, unit.row)
        return ("mapped", made) if made else ("none", ())


def _patient_fields(mapping: MappingOf[Any]) -> set[str]:
    """The fields of a row that name its patient, by what the mapping makes of its examples."""
    found = set()
    for row in mapping.examples:
        named = {
            each.target.value
            for resource in mapped(mapping, row)
            for each in find_references(resource)
            if each.target.resource_type == PATIENT
        }
        found |= {place.path for place in places(row) if str(place.value) in named}
    return found
