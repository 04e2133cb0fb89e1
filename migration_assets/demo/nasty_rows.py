"""Rows that are wrong, odd or early on purpose, and what must become of each.

Belongs here: the kinds of nasty row, as they occur in real clinics, one function per kind, and the
fate that the product owes each. Does not belong here: how many of them there are (``population``).

Every nasty row is an extra one under a key of its own, and no ordinary row refers to it: an
ordinary row is always delivered, whatever stands beside it.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from migration_assets.demo.clinic_store import ClinicRow
from migration_assets.demo.patient_rows import (
    encounter,
    observation,
    patient,
    patient_condition,
    prescription,
)
from migration_assets.demo.staff_rows import organization

_MARK = "X-"
_MINUTE = 60_000
_LONG_NAME = 3_500  # characters; Medplum's index takes about 2,700 bytes (contract §10)
_LONG_NOTE = 1_200_000  # characters; Medplum takes 1 MiB in one request (contract §6)


class Fate(enum.StrEnum):
    """What must become of a row; an awaiting one is quarantined until what it refers to comes."""

    DELIVERED = "delivered"
    QUARANTINED = "quarantined"
    AWAITING = "awaiting"


class NastyRow(NamedTuple):
    """Which nasty row went where; ``key`` is blank for a row that has none."""

    kind: str
    stream: str
    key: str
    fate: Fate


@dataclass(frozen=True)
class Setting:
    """What a nasty row is made from: a sound patient to refer to, a change time, a number."""

    random: Random
    number: int
    patient_id: str
    at: int

    def key(self, prefix: str) -> str:
        """A key that only nasty rows have."""
        return f"{_MARK}{prefix}{self.number:06}"

    def patient(self, **wrong: Any) -> dict[str, Any]:
        """A patient who is sound but for ``wrong``."""
        return patient(self.random, self.key("P"), self.at) | wrong

    def condition(self, **wrong: Any) -> dict[str, Any]:
        """A condition that is sound but for ``wrong``."""
        sound = patient_condition(self.random, self.key("PC"), self.patient_id, self.at)
        return sound | wrong

    def encounter(self, **wrong: Any) -> dict[str, Any]:
        """An encounter that is sound but for ``wrong``."""
        return encounter(self.random, self.key("E"), self.patient_id, self.at) | wrong

    def weight(self, **wrong: Any) -> dict[str, Any]:
        """A measured weight that is sound but for ``wrong``."""
        sound = observation(self.random, self.key("OB"), self.patient_id, self.at, lab="GLU")
        measured = {"category": "vital-signs", "code": "WT", "value": 71.5, "unit": "kg"}
        return sound | measured | {"abnormal_flag": None} | wrong

    def organization(self, **wrong: Any) -> dict[str, Any]:
        """An organization that is sound but for ``wrong``."""
        return organization(self.random, self.key("O"), None) | wrong


def is_nasty_key(key: str) -> bool:
    """Whether a key is one of a nasty row, or none at all."""
    return not key or key.strip().startswith(_MARK)


def nasty_rows(kind: str, setting: Setting) -> list[tuple[ClinicRow, NastyRow]]:
    """The rows of a kind, each with its entry in the manifest; most kinds are one row."""
    return [(row, NastyRow(kind, row.stream, row.key, fate)) for row, fate in KINDS[kind](setting)]


_Made = list[tuple[ClinicRow, Fate]]
_KEY = {"patients": "patient_id", "patient_conditions": "patient_condition_id",
        "encounters": "encounter_id", "observations": "observation_id",
        "organizations": "organization_id", "prescriptions": "prescription_id"}  # fmt: skip


def _row(stream: str, body: dict[str, Any], at: int) -> ClinicRow:
    return ClinicRow(stream, body.get(_KEY[stream], ""), at, body)


def _one(
    stream: str, make: Callable[[Setting], dict[str, Any]], fate: Fate = Fate.QUARANTINED
) -> Callable[[Setting], _Made]:
    return lambda setting: [(_row(stream, make(setting), setting.at), fate)]


def _bad_birth_date(text: str) -> Callable[[Setting], _Made]:
    return _one("patients", lambda setting: setting.patient(birth_date=text))


def _duplicate_person(setting: Setting) -> _Made:
    """The same person registered twice: for a person to merge, not for us."""
    first = setting.patient()
    second = first | {"patient_id": setting.key("PD")}
    return [(_row("patients", each, setting.at), Fate.QUARANTINED) for each in (first, second)]


def _key_used_twice(setting: Setting) -> _Made:
    """Neither can be believed: nothing says which of the two the key means."""
    first = setting.patient(first_name="Anna", birth_date="1970-01-02")
    second = setting.patient(first_name="Berta", birth_date="1999-12-31")
    return [(_row("patients", each, setting.at), Fate.QUARANTINED) for each in (first, second)]


def _parent_comes_later(setting: Setting) -> _Made:
    parent_id = setting.key("OP")
    child = setting.organization(parent_id=parent_id)
    parent = setting.organization(organization_id=parent_id)
    earlier = setting.at - 5 * _MINUTE
    return [
        (_row("organizations", child, earlier), Fate.DELIVERED),
        (_row("organizations", parent, setting.at), Fate.DELIVERED),
    ]


def _before_its_patient(setting: Setting) -> _Made:
    row = setting.condition(patient_id=setting.key("P"))
    earlier = setting.at - 5 * _MINUTE
    return [
        (_row("patient_conditions", row, earlier), Fate.DELIVERED),
        (_row("patients", setting.patient(), setting.at), Fate.DELIVERED),
    ]


def _of_a_quarantined_patient(setting: Setting) -> _Made:
    row = setting.condition(patient_id=setting.key("P"))
    bad = setting.patient(birth_date="1980-02-30")
    return [
        (_row("patients", bad, setting.at), Fate.QUARANTINED),
        (_row("patient_conditions", row, setting.at), Fate.AWAITING),
    ]


def _without_id(setting: Setting) -> _Made:
    row = setting.patient()
    del row["patient_id"]
    return [(_row("patients", row, setting.at), Fate.QUARANTINED)]


def _not_an_object(setting: Setting) -> _Made:
    return [(ClinicRow("observations", "", setting.at, "corrupt"), Fate.QUARANTINED)]


def _own_parent(setting: Setting) -> dict[str, Any]:
    return setting.organization(parent_id=setting.key("O"))


def _zone_less(setting: Setting) -> dict[str, Any]:
    return setting.weight(observed_at="2024-03-01T08:30:00")


def _punctuated(setting: Setting) -> dict[str, Any]:
    """Everything that FHIR search, URLs or SQL could trip over; it is a key like any other."""
    return setting.patient(patient_id=setting.key("P") + ",a|b$c\\d/é&?#%20+'\"")


KINDS: dict[str, Callable[[Setting], _Made]] = {
    # A code that no concept map has is never guessed at.
    "unknown-gender": _one("patients", lambda setting: setting.patient(gender="X")),
    "unknown-status": _one("encounters", lambda setting: setting.encounter(status="triage")),
    "unknown-encounter-type": _one("encounters", lambda setting: setting.encounter(type="spa")),
    "unknown-condition": _one(
        "patient_conditions", lambda setting: setting.condition(condition_id="ZZ999")
    ),
    "unknown-unit": _one("observations", lambda setting: setting.weight(unit="stone")),
    "not-a-number": _one("observations", lambda setting: setting.weight(value="n/a")),
    # A reference to what may yet come waits; one that is not there at all cannot.
    "missing-reference": _one(
        "patient_conditions",
        lambda setting: setting.condition(patient_id="P-NOBODY"),
        Fate.AWAITING,
    ),
    "null-reference": _one(
        "patient_conditions", lambda setting: setting.condition(patient_id=None)
    ),
    "of-a-quarantined-patient": _of_a_quarantined_patient,
    # Dates that no calendar has, and a time that could be any of 24.
    "impossible-date": _bad_birth_date("1980-02-30"),
    "zero-date": _bad_birth_date("0000-00-00"),
    "wrong-order-date": _bad_birth_date("13/45/2020"),
    "worded-date": _bad_birth_date("unknown"),
    "zone-less-time": _one("observations", _zone_less),
    # Keys.
    "duplicate-person": _duplicate_person,
    "key-used-twice": _key_used_twice,
    "without-id": _without_id,
    "padded-id": _one(
        "patients", lambda setting: setting.patient(patient_id=f" {setting.key('P')} ")
    ),
    "punctuated-id": _one("patients", _punctuated, Fate.DELIVERED),
    # Order of arrival, and a circle of one.
    "before-its-patient": _before_its_patient,
    "parent-comes-later": _parent_comes_later,
    "own-parent": _one("organizations", _own_parent),
    # Content.
    "not-an-object": _not_an_object,
    "non-ascii": _one(
        "patients",
        lambda setting: setting.patient(first_name="Ÿvonne 小明 𐍈", last_name="Ñáñez-Łęcka 🩺"),
        Fate.DELIVERED,
    ),
    "nul": _one("patients", lambda setting: setting.patient(last_name="O\0Brien")),
    "long-name": _one("patients", lambda setting: setting.patient(last_name="Q" * _LONG_NAME)),
    "blank-drug": _one(
        "prescriptions",
        lambda setting: (
            prescription(setting.random, setting.key("RX"), setting.patient_id, setting.at)
            | {"drug_code": None, "drug_text": None}
        ),
    ),
}
"""Every kind by name; the first row a kind makes is the one that gives it its name."""

LONG_NOTE = "long-note"
KINDS[LONG_NOTE] = _one(
    "encounters",
    lambda setting: setting.encounter(status="finished", note="long " * (_LONG_NOTE // 5)),
)
