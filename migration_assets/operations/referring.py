"""Referring: which resources the rows on account refer to, so that none is deleted under them.

Belongs here: finding out what others refer to, by mapping their rows. Does not belong here:
deleting, or making references literal (``resolution``). Only our own rows are known here: what
somebody else wrote to Medplum may refer to anything.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from migration_assets.manifest import Manifest, Unit
from migration_assets.mapping import Mapping as RowMapping
from migration_assets.steps.relinking import references_of
from migration_assets.steps.transforming import ask, bound

_CHUNK = 500


class Referred:
    """Tokens of resources that some units refer to; grows as more units are found to stay."""

    def __init__(self, manifest: Manifest, mappings: Mapping[str, RowMapping[Any]]) -> None:
        self._manifest = manifest
        # What a Bot said of rows that were delivered is on account: nobody need be asked.
        self._by_stream = {each.stream: bound(each, manifest, None) for each in mappings.values()}
        self._tokens: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tokens

    def written_after(
        self, run_id: int, kinds: AbstractSet[str], *, beyond: AbstractSet[int]
    ) -> None:
        """Add what units refer to that later runs wrote, of streams that may refer to ``kinds``."""
        streams = [
            each.stream
            for each in self._by_stream.values()
            if not kinds.isdisjoint((*each.after, *each.types)) or each.back_references
        ]
        numbers = self._manifest.history.units_written_after(run_id, streams, beyond=beyond)
        for start in range(0, len(numbers), _CHUNK):
            self.add(numbers[start : start + _CHUNK])

    def add(self, unit_ids: Iterable[int]) -> None:
        """Add what these units refer to, as far as Medplum holds anything of them."""
        for settled in self._manifest.remapping.settled(list(unit_ids)):
            unit = settled.unit
            if any(each.fhir_id is not None and not each.deleted for each in unit.targets):
                self._tokens |= self._references(unit)

    def _references(self, unit: Unit) -> set[str]:
        mapping = self._by_stream.get(unit.stream)
        if mapping is None:
            return set()
        ask(mapping, [unit]).refuse_silence()
        return references_of(mapping, unit)
