"""Where each FHIR type stands in the adoption strategy, and what that permits (pure).

Belongs here: the six phases of design §6 and the questions the pipeline asks of them. Does not
belong here: changing a phase, its exit gates (``gates``), or reading files other than the text it
is given.

A type with cohorts is pulled and delivered as long as the type or one of them may be: its rows are
told apart when they are about to be delivered (``steps.cohorts``).
"""

import enum
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import orjson

from migration_assets.adoption.cohorts import TERMS, Terms, read_terms
from migration_assets.errors import Permanent


class Phase(enum.StrEnum):
    """Medplum's adoption phases, before and after included."""

    REHEARSE = "rehearse"
    DUAL_WRITE = "dual_write"
    BACKFILL = "backfill"
    READ = "read"
    WRITE = "write"
    RETIRED = "retired"


class Strategy(enum.StrEnum):
    """How a resource that Medplum does not have yet is created (design §5)."""

    SHARED = "shared"  # somebody else may write this type: conditional PUT
    EXCLUSIVE = "exclusive"  # we are the only writer: plain POST


class Authority(enum.StrEnum):
    """Whose write wins where a resource was edited in Medplum and its row changed as well."""

    LEGACY = "legacy"  # the edit is written over, and written down
    MEDPLUM = "medplum"  # the edit stays, and the row is quarantined with both versions


_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_DELIVERING = frozenset({Phase.DUAL_WRITE, Phase.BACKFILL, Phase.READ})
_OWNED = frozenset({Phase.WRITE, Phase.RETIRED})
_PULLING = _DELIVERING | {Phase.REHEARSE}


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Part of a type with a phase of its own, and an authority if it declares one."""

    name: str
    terms: Terms
    phase: Phase
    authority: Authority | None = None

    @property
    def stands(self) -> tuple[Phase, Authority | None]:
        """What holds for its rows."""
        return self.phase, self.authority


@dataclass(frozen=True)
class Standing:
    """Where one type stands; ``strategy`` is shared unless its entry declares otherwise.

    Without a declared ``authority`` an edit made in Medplum is quarantined, as if it were Medplum.
    ``cohorts`` stand for themselves: what is asked here of a type with some is whether any of its
    rows may be pulled or delivered, and whether all of them are Medplum's.
    """

    phase: Phase = Phase.REHEARSE
    strategy: Strategy = Strategy.SHARED
    authority: Authority | None = None
    cohorts: tuple[Cohort, ...] = ()

    def of(self, cohort: Cohort | None) -> "Standing":
        """Where a cohort stands; with None, where that stands which is in no cohort."""
        if cohort is None:
            return replace(self, cohorts=())
        return Standing(cohort.phase, self.strategy, cohort.authority or self.authority)

    @property
    def declaration(self) -> str:
        """What tells membership, as a digest: phases may change, and nobody moves by that."""
        terms = [[each.name, each.terms.as_json()] for each in self.cohorts]
        return blake2b(orjson.dumps(terms), digest_size=12).hexdigest()

    @property
    def owned_cohorts(self) -> tuple[str, ...]:
        """Names of what Medplum owns; the empty one is that which is in no cohort."""
        parts = {"": self.phase} | {each.name: each.phase for each in self.cohorts}
        return tuple(name for name, phase in parts.items() if phase in _OWNED)

    def cohort(self, name: str) -> Cohort | None:
        """The cohort of that name, if it is declared."""
        return next((each for each in self.cohorts if each.name == name), None)

    @property
    def parts(self) -> "tuple[Standing, ...]":
        """Where each part of the type stands, cohorts last."""
        return (self.of(None), *(self.of(each) for each in self.cohorts))

    @property
    def _phases(self) -> set[Phase]:
        return {self.phase, *(each.phase for each in self.cohorts)}

    @property
    def may_pull(self) -> bool:
        """Whether the legacy API is still asked for this type."""
        return bool(self._phases & _PULLING)

    @property
    def may_deliver(self) -> bool:
        """Whether anything may be written to Medplum for this type."""
        return bool(self._phases & _DELIVERING)

    @property
    def owned_by_medplum(self) -> bool:
        """Whether the truth is in Medplum, and nothing of ours may write over it."""
        return self._phases <= _OWNED

    @property
    def refused_cohorts(self) -> str:
        """Which cohorts nothing is delivered for although the type is, in a sentence; or empty."""
        if not self.may_deliver or not self.cohorts:
            return ""
        listed = {each.name: each.phase for each in self.cohorts} | {"in no cohort": self.phase}
        told = [f"{name}: {each}" for name, each in listed.items() if each not in _DELIVERING]
        return f"Nothing is delivered for part of it ({', '.join(told)})." if told else ""

    @property
    def refusal(self) -> str:
        """Why nothing is delivered, in a sentence; empty when it may be."""
        if self.may_deliver:
            return ""
        if not self._phases <= _OWNED:
            return (
                "phase is rehearse: rows are mapped and validated, nothing is written. "
                'Set the type to "backfill" in adoption.toml to deliver.'
            )
        means = (
            "it is written there, and what is still written in the legacy system does not arrive "
            "any more."
            if self.phase is Phase.WRITE
            else "the legacy system is out of use, and what is on account is its final evidence."
        )
        return (
            f"phase is {self.phase}: Medplum owns this type now and the puller refuses to "
            f"overwrite it: {means}"
        )


class Adoption:
    """The standings of all types, as adoption.toml declares them; an absent type rehearses."""

    def __init__(self, standings: Mapping[str, Standing]) -> None:
        self._standings = dict(standings)

    def standing(self, resource_type: str) -> Standing:
        """Where ``resource_type`` stands."""
        return self._standings.get(resource_type, Standing())

    def with_strategy(self, resource_type: str, strategy: Strategy) -> "Adoption":
        """The same, but for the strategy of one type."""
        changed = replace(self.standing(resource_type), strategy=strategy)
        return Adoption({**self._standings, resource_type: changed})

    def with_phase(
        self, types: Iterable[str], phase: Phase, *, cohort: str | None = None
    ) -> "Adoption":
        """The same, but for the phase of some types, or of the cohort of that name in each."""
        changed = {
            each: replace(self.standing(each), phase=phase)
            if cohort is None
            else replace(
                self.standing(each),
                cohorts=tuple(
                    replace(one, phase=phase) if one.name == cohort else one
                    for one in self.standing(each).cohorts
                ),
            )
            for each in types
        }
        return Adoption({**self._standings, **changed})

    def missing(self, types: Iterable[str]) -> set[str]:
        """Those of ``types`` that are not declared."""
        return set(types) - set(self._standings)

    def unknown_types(self, known: Iterable[str]) -> list[str]:
        """Declared types that no mapping has: most often a misspelt name, which would rehearse."""
        return sorted(set(self._standings) - set(known))


def read_adoption(text: str, *, name: str = "adoption.toml") -> Adoption:
    """Adoption from TOML: ``Patient = "backfill"``, or a table of what ``Standing`` holds.

    Raises:
        Permanent: not TOML, or a phase, strategy or key that does not exist; names the entry.
    """
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Permanent(f"Reading {name} failed: it is not TOML ({error}).") from error
    return Adoption({each: _standing(each, value, name) for each, value in entries.items()})


def _standing(resource_type: str, entry: Any, name: str) -> Standing:
    table = {"phase": entry} if isinstance(entry, str) else entry
    known = {"phase", "strategy", "authority", "cohorts"}
    if not isinstance(table, dict) or not table.keys() <= known:
        raise Permanent(
            f'{name}: entry {resource_type} must be a phase ("backfill") or a table with '
            "phase, strategy, authority and cohorts."
        )
    where = f"{name}: entry {resource_type}"
    try:
        standing = Standing(
            Phase(table.get("phase", Phase.REHEARSE)),
            Strategy(table.get("strategy", Strategy.SHARED)),
            Authority(table["authority"]) if "authority" in table else None,
        )
        return replace(standing, cohorts=_cohorts(table.get("cohorts", {}), where))
    except ValueError as error:
        raise Permanent(
            f"{where}: {error}. Phases: {', '.join(Phase)}; "
            f"strategies: {', '.join(Strategy)}; authorities: {', '.join(Authority)}."
        ) from error


def _cohorts(entries: Any, where: str) -> tuple[Cohort, ...]:
    if not isinstance(entries, dict):
        raise Permanent(f"{where}: cohorts must be tables, [Type.cohorts.name].")
    made = []
    for name, entry in entries.items():
        here = f"{where}, cohort {name}"
        if not _NAME.fullmatch(name):
            raise Permanent(f"{here}: a name has letters, digits, - and _ in it.")
        if not isinstance(entry, dict) or not entry.keys() <= {"phase", "authority", *TERMS}:
            raise Permanent(
                f"{here} must be a table with phase, authority, {', '.join(sorted(TERMS))}."
            )
        if "phase" not in entry:
            raise Permanent(f"{here} must have a phase: {', '.join(Phase)}.")
        made.append(
            Cohort(
                name=name,
                terms=read_terms(entry, here),
                phase=Phase(entry["phase"]),
                authority=Authority(entry["authority"]) if "authority" in entry else None,
            )
        )
    return tuple(made)
