"""Where each FHIR type stands in the adoption strategy, and what that permits (pure).

Belongs here: the six phases of design §6 and the questions the pipeline asks of them. Does not
belong here: changing a phase, its exit gates (``gates``), or reading files other than the text it
is given.
"""

import enum
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

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


_DELIVERING = frozenset({Phase.DUAL_WRITE, Phase.BACKFILL, Phase.READ})
_OWNED = frozenset({Phase.WRITE, Phase.RETIRED})
_PULLING = _DELIVERING | {Phase.REHEARSE}


@dataclass(frozen=True)
class Standing:
    """Where one type stands; ``strategy`` is shared unless its entry declares otherwise.

    Without a declared ``authority`` an edit made in Medplum is quarantined, as if it were Medplum.
    """

    phase: Phase = Phase.REHEARSE
    strategy: Strategy = Strategy.SHARED
    authority: Authority | None = None

    @property
    def may_pull(self) -> bool:
        """Whether the legacy API is still asked for this type."""
        return self.phase in _PULLING

    @property
    def may_deliver(self) -> bool:
        """Whether anything may be written to Medplum for this type."""
        return self.phase in _DELIVERING

    @property
    def owned_by_medplum(self) -> bool:
        """Whether the truth is in Medplum, and nothing of ours may write over it."""
        return self.phase in _OWNED

    @property
    def refusal(self) -> str:
        """Why nothing is delivered, in a sentence; empty when it may be."""
        if self.may_deliver:
            return ""
        if self.phase is Phase.REHEARSE:
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

    def with_phase(self, types: Iterable[str], phase: Phase) -> "Adoption":
        """The same, but for the phase of some types."""
        changed = {each: replace(self.standing(each), phase=phase) for each in types}
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
    if not isinstance(table, dict) or not table.keys() <= {"phase", "strategy", "authority"}:
        raise Permanent(
            f'{name}: entry {resource_type} must be a phase ("backfill") or a table with '
            "phase, strategy and authority."
        )
    try:
        return Standing(
            Phase(table.get("phase", Phase.REHEARSE)),
            Strategy(table.get("strategy", Strategy.SHARED)),
            Authority(table["authority"]) if "authority" in table else None,
        )
    except ValueError as error:
        raise Permanent(
            f"{name}: entry {resource_type}: {error}. Phases: {', '.join(Phase)}; "
            f"strategies: {', '.join(Strategy)}; authorities: {', '.join(Authority)}."
        ) from error
