"""Rows of the clinic's organizations, practitioners and the roles that join them.

Belongs here: one function per stream, pure in the randomness it is given. Does not belong here: how
many there are and when they changed (``population``).
"""

from random import Random
from typing import Any

from migration_assets.demo.dice import chance, day, phone
from migration_assets.demo.invented_values import (
    CITIES,
    CLINIC_KINDS,
    CLINIC_NAMES,
    FAMILY_NAMES,
    GIVEN_NAMES,
    ROLES,
    STREETS,
)

_YEAR = 365 * 86_400_000  # milliseconds


def organization_id(number: int) -> str:
    """The key of the organization ``number``, from 0."""
    return f"O{number + 1:05}"


def practitioner_id(number: int) -> str:
    """The key of the practitioner ``number``, from 0."""
    return f"D{number + 1:06}"


def organization(random: Random, key: str, parent_id: str | None) -> dict[str, Any]:
    """A row of ``organizations``."""
    type_code, kind = random.choice(CLINIC_KINDS)
    city, state, postal_code = random.choice(CITIES)
    return {
        "organization_id": key,
        "name": f"{random.choice(CLINIC_NAMES)} {kind} {key[-4:]}",
        "type_code": type_code,
        "phone": phone(random),
        "address_line": f"{random.randrange(1, 400)} {random.choice(STREETS)}",
        "city": city,
        "state": state,
        "postal_code": postal_code,
        "parent_id": parent_id,
    }


def practitioner(random: Random, key: str) -> dict[str, Any]:
    """A row of ``practitioners``."""
    return {
        "practitioner_id": key,
        "npi": _npi(random) if chance(random, 0.8) else None,
        "first_name": random.choice(GIVEN_NAMES),
        "last_name": random.choice(FAMILY_NAMES),
        "gender": random.choice("FMOU" if chance(random, 0.05) else "FM"),
        "phone": phone(random) if chance(random, 0.9) else None,
        "email": f"{key.lower()}@clinic.example",
        "active": chance(random, 0.95),
    }


def practitioner_role(
    random: Random, key: str, practitioner: str, organization: str, now: int
) -> dict[str, Any]:
    """A row of ``practitioner_roles``; ``now`` in milliseconds."""
    start = now - _YEAR - random.randrange(20 * _YEAR)
    left = chance(random, 0.1)
    return {
        "role_id": key,
        "practitioner_id": practitioner,
        "organization_id": organization,
        "role_code": random.choice(ROLES),
        "start_date": day(start),
        "end_date": day(start + random.randrange(_YEAR)) if left else None,
        "active": not left,
    }


def _npi(random: Random) -> str:
    """Ten digits whose check digit is right (Luhn, with the prefix 80840)."""
    digits = f"1{random.randrange(10**8):08}"
    total = 24  # what the prefix adds
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004 - two digits are added up
    return f"{digits}{-total % 10}"
