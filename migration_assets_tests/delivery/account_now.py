"""What is on account, read as an auditor would: with SQL, past our own code."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration_assets.manifest import State


@dataclass(frozen=True)
class UnitNow:
    """A unit as it stands on account."""

    state: str
    reason: str | None
    awaiting: str | None
    deleted: bool

    @property
    def held_back(self) -> bool:
        """Whether a person must look, or a target is awaited."""
        return self.state == State.QUARANTINED.value


@dataclass(frozen=True)
class TargetNow:
    """A target as it stands on account."""

    fhir_id: str | None
    version_id: str | None
    fingerprint: str | None
    sent: frozenset[str]
    deleted: bool


@dataclass(frozen=True)
class AttemptNow:
    """What an attempt says that the law needs, and all it says for comparing."""

    token: str
    fhir_id: str | None
    version_id: str | None
    whole: tuple[Any, ...]


@dataclass(frozen=True)
class Account:
    """Units by stream and key, targets by token, attempts in order."""

    units: dict[tuple[str, str], UnitNow]
    targets: dict[str, TargetNow]
    attempts: list[AttemptNow]


def read_account(path: Path) -> Account:
    """The account in a SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        units = connection.execute(
            "SELECT stream, key, state, reason, awaiting, deleted FROM units"
        )
        targets = connection.execute(
            "SELECT token, fhir_id, version_id, fingerprint, sent, deleted FROM targets"
        )
        attempts = connection.execute(
            "SELECT token, fhir_id, version_id, * FROM attempts ORDER BY id"
        )
        return Account(
            {
                (stream, key): UnitNow(state, reason, awaiting, bool(deleted))
                for stream, key, state, reason, awaiting, deleted in units
            },
            {
                name: TargetNow(
                    fhir_id, version, print_, frozenset((sent or "").split()), bool(deleted)
                )
                for name, fhir_id, version, print_, sent, deleted in targets
            },
            [AttemptNow(each[0], each[1], each[2], each[3:]) for each in attempts],
        )
