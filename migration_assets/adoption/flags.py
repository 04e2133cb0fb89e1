"""Feature flags: which system front ends read a type from and write it to (pure).

Belongs here: phases → flags, and the FHIR resource they are published as. Does not belong here:
publishing it (``switching.publishing``). No time and no run stands in it: what did not change is
published as the same, and writes nothing.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from migration_assets.adoption.cohorts import Terms
from migration_assets.adoption.standing import Adoption, Phase, Standing, Strategy
from migration_assets.fhir.identifiers import identifier_system as identifiers_of
from migration_assets.fhir.identifiers import local_system
from migration_assets.mapping import Resource

FLAGS = "migration-flags"
"""Value of the published resource's identifier, and code of what it is."""

_READ_FROM_MEDPLUM = (Phase.READ, Phase.WRITE, Phase.RETIRED)


def flags(adoption: Adoption, types: Iterable[str]) -> dict[str, Any]:
    """For each type its phase, and ``legacy`` or ``medplum`` to read from and to write to.

    ``dual_write``: services that write to both go on doing so. ``cohorts``, where a type has some:
    the same for each, with the terms by which a front end knows its records; an organization by
    the identifier that it has in Medplum. What is in none follows the type.
    """
    return {"types": {each: _of_type(adoption.standing(each)) for each in sorted(set(types))}}


def as_json(found: dict[str, Any]) -> str:
    """One text for the same flags."""
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()


def as_basic(found: dict[str, Any]) -> Resource:
    """The FHIR resource that front ends find by its identifier; the flags are in its extension."""
    return {
        "resourceType": "Basic",
        "identifier": [{"system": identifier_system(), "value": FLAGS}],
        "code": {"coding": [{"system": local_system("migration"), "code": FLAGS}]},
        "extension": [{"url": local_system(FLAGS), "valueString": as_json(found)}],
    }


def identifier_system() -> str:
    """The system of the resource's identifier."""
    return local_system("migration")


def _of_type(standing: Standing) -> dict[str, Any]:
    flag = _flag(standing.of(None))
    if standing.cohorts:
        flag["cohorts"] = {
            each.name: _flag(standing.of(each)) | {"terms": _terms(each.terms)}
            for each in standing.cohorts
        }
    return flag


def _terms(terms: Terms) -> dict[str, str]:
    told = terms.as_json()
    if terms.organization is not None:
        told["organization"] = f"{identifiers_of('Organization')}|{terms.organization}"
    return told


def _flag(standing: Standing) -> dict[str, Any]:
    phase = standing.phase
    followed = phase in {Phase.BACKFILL, Phase.READ}
    return {
        "phase": phase.value,
        "read": "medplum" if phase in _READ_FROM_MEDPLUM else "legacy",
        "write": "medplum" if standing.owned_by_medplum else "legacy",
        "dual_write": phase is Phase.DUAL_WRITE
        or (followed and standing.strategy is Strategy.SHARED),
    }
