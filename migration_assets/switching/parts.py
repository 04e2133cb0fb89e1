"""The part of a type that is moved: all of it, one cohort, or what is in none of its cohorts.

Belongs here: counting and choosing a part's rows. Does not belong here: telling who is in a cohort
(``steps.cohorts``), or what a gate asks for (``adoption.gates``).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migration_assets.adoption import Cohort, Standing
from migration_assets.claims.on_account import unsettled
from migration_assets.manifest import Balance, Manifest, Selection, State
from migration_assets.manifest.write_back_ends import WriteBack
from migration_assets.mapping import Mapping
from migration_assets.steps.cohorts import cohorts_of, note_all
from migration_assets.steps.resolution import AWAITING

_NOTHING = Balance(0, dict.fromkeys(State, 0))


@dataclass(frozen=True)
class Part:
    """A part of a mapping's types; everybody on account is noted when it is made."""

    manifest: Manifest
    mapping: Mapping[Any]
    standing: Standing
    cohort: Cohort | None = None

    def __post_init__(self) -> None:
        note_all(self.manifest, self.mapping, self.standing)

    @property
    def name(self) -> str:
        """As it is noted: empty for what is in no cohort."""
        return "" if self.cohort is None else self.cohort.name

    @property
    def recorded(self) -> str | None:
        """As changes of its phase are recorded."""
        return None if self.cohort is None else self.cohort.name

    def balance(self) -> Balance:
        """Its rows by state; it holds if that of all rows of the stream does."""
        stream = self.mapping.stream
        whole = self.manifest.balances().get(stream, _NOTHING)
        if not self.standing.cohorts:
            return whole
        every = self.manifest.cohorts.balances(stream, self.standing.declaration)
        own = every.get(self.name, _NOTHING)
        return own if whole.holds else Balance(-1, own.by_state)

    def unexplained(self) -> int:
        """Its rows that did not arrive and that nobody accepted; waiting is no failure."""
        stream = self.mapping.stream
        if not self.standing.cohorts:
            chosen = Selection(streams=(stream,), open_only=True)
            return unsettled(self.manifest.decisions.groups(chosen)).total()
        declaration = self.standing.declaration
        reasons = self.manifest.cohorts.open_reasons(stream, declaration, self.name)
        del reasons[AWAITING]
        return reasons.total()

    def awaiting(self) -> int:
        """Its rows that wait for another and that nobody accepted, or that may be its."""
        stream = self.mapping.stream
        if not self.standing.cohorts:
            chosen = Selection(streams=(stream,), reason=AWAITING, open_only=True)
            return sum(each.open for each in self.manifest.decisions.groups(chosen))
        declaration = self.standing.declaration
        return sum(
            self.manifest.cohorts.open_reasons(stream, declaration, each)[AWAITING]
            for each in (self.name, None)
        )

    def untold(self) -> int:
        """Rows of which nobody knows the cohort, so that they may be in this one."""
        if not self.standing.cohorts:
            return 0
        stream, declaration = self.mapping.stream, self.standing.declaration
        return self.manifest.cohorts.untold(stream, declaration, but=AWAITING)

    def among(self, numbers: Iterable[int]) -> set[int]:
        """Those of some units that are in it, or of which that cannot be told."""
        listed = list(numbers)
        if not self.standing.cohorts:
            return set(listed)
        known = cohorts_of(self.manifest, self.mapping, self.standing, listed)
        return {each for each in listed if known.get(each, self.name) == self.name}

    def of_keys(self, keys: Iterable[str]) -> set[str]:
        """The same of rows by key; one that is not on account may be in it."""
        listed = list(keys)
        if not self.standing.cohorts:
            return set(listed)
        numbers = self.manifest.cohorts.numbers(self.mapping.stream, listed)
        here = self.among(numbers.values())
        return {each for each in listed if each not in numbers or numbers[each] in here}

    def landings(self, streams: Iterable[str]) -> int:
        """A number that moves with whatever lands for it in some streams, by whomever."""
        if not self.standing.cohorts:
            return sum(self.manifest.cutovers.landings(each) for each in streams)
        changes, declaration = self.manifest.cohort_changes, self.standing.declaration
        return sum(changes.landings(each, declaration, self.name) for each in streams)

    def landed_since(self, moment: datetime, *, changed_since: datetime | None = None) -> int:
        """Of a type with cohorts, its rows that others landed after a moment, new or changed.

        The puller goes on for the other cohorts. ``changed_since`` is the source's time.
        """
        if not self.standing.cohorts:
            return 0
        return self.manifest.cohort_changes.landed_since(
            self.mapping.stream,
            self.standing.declaration,
            self.name,
            moment,
            changed_since=changed_since,
        )

    def last_write(self) -> datetime | None:
        """When we last changed a resource of it in Medplum."""
        declaration, whole = self.standing.declaration, not self.standing.cohorts
        writes = [
            self.manifest.switching.last_write(each)
            if whole
            else self.manifest.cohort_changes.last_write(each, declaration, self.name)
            for each in self.mapping.types
        ]
        return max((each for each in writes if each is not None), default=None)

    def write_backs(self) -> Counter[WriteBack]:
        """What was changed of it in Medplum after a flip, by what became of that."""
        types, found = self.mapping.types, Counter[WriteBack]()
        if self.standing.cohorts:
            changes, declaration = self.manifest.cohort_changes, self.standing.declaration
            found.update(changes.write_backs(types, declaration, self.name))
            return found
        for each in self.manifest.write_backs.counts(types).values():
            found.update(each)
        return found
