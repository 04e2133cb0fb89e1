"""Invented pulled rows and settlements for the tests of the account."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from migration_assets.manifest import Attempt, Settlement, State, Target, Unit, token

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class PulledRow:
    """A row as the puller hands it over."""

    key: str | None
    row: Any
    changed_at: datetime | None = START
    deleted: bool = False
    problem: str | None = None
    archived: bool = False
    merged_into: str | None = None
    volatile: tuple[str, ...] = ()


def row(key: str, *, at: int = 0, **content: Any) -> PulledRow:
    """A row with a key, changed ``at`` seconds after the start."""
    return PulledRow(key, {"id": key, **content}, START + timedelta(seconds=at))


def tombstone(key: str, *, at: int) -> PulledRow:
    """A row the source says is deleted."""
    return PulledRow(key, {"id": key}, START + timedelta(seconds=at), deleted=True)


def patient_token(key: str) -> str:
    """The token of the patient a row becomes."""
    return token("Patient", "http://x/patientId", key)


def migrated(unit: Unit, *, version: str = "v1") -> Settlement:
    """The settlement of a unit that Medplum accepted."""
    name = patient_token(unit.key)
    return Settlement(
        unit_id=unit.id,
        revision=unit.revision,
        state=State.MIGRATED,
        mapping_version="1.0.0",
        attempts=(
            Attempt(name, "POST", "b1", 0, "201", "created", None, f"id-{unit.key}", version),
        ),
        targets=(Target("Patient", name, f"id-{unit.key}", version, "f" * 32),),
    )
