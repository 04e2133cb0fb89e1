"""A clinic of two houses, north (O1) and south (O2), whose types have cohorts.

Belongs here: declaring, pulling and delivering, and looking at what became of rows. Does not belong
here: claims.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from migration_assets.adoption import Adoption, read_adoption
from migration_assets.manifest import State
from migration_assets.mapping import Mapping
from migration_assets.pipeline import Worked, migrate
from migration_assets.run import Run
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.reconciliation.test_references import ENCOUNTERS
from migration_assets_tests.scripted import ORGANIZATIONS, PATIENTS


def declared(
    north: str = "backfill", south: str = "backfill", own: str = "backfill", more: str = ""
) -> Adoption:
    """Patient and Encounter, by house; Organization is backfilled."""
    tables = "".join(
        f'[{kind}]\nphase = "{own}"\n'
        f'[{kind}.cohorts.north]\norganization = "O1"\nphase = "{north}"\n'
        f'[{kind}.cohorts.south]\norganization = "O2"\nphase = "{south}"\n'
        for kind in ("Patient", "Encounter")
    )
    return read_adoption(f'Organization = "backfill"\n{tables}{more}')


def founded(clinic: Clinic, adoption: Adoption) -> None:
    """Two houses with a patient and a visit each, and a patient of none; all of it migrated."""
    clinic.mappings = (ORGANIZATIONS, PATIENTS, ENCOUNTERS)
    clinic.source.rows["visits"] = []
    for house in ("O1", "O2"):
        clinic.source.put("organizations", house)
    clinic.source.put("patients", "PN", organization="O1")
    clinic.source.put("patients", "PS", organization="O2")
    clinic.source.put("patients", "P0")
    clinic.source.put("visits", "VN", patient="PN")
    clinic.source.put("visits", "VS", patient="PS")
    pull(clinic, adoption)


def pull(
    clinic: Clinic, adoption: Adoption, mappings: Sequence[Mapping[Any]] = ()
) -> dict[str, Worked]:
    """Pull and deliver every type under these phases; by type what became of the pending."""
    run = under(clinic, adoption)
    return {each.resource_type: migrate(run, each) for each in mappings or clinic.mappings}


def under(clinic: Clinic, adoption: Adoption) -> Run:
    """A run that pulled every type under these phases, and delivered nothing yet."""
    clinic.adoption = adoption
    return replace(clinic.land(), adoption=adoption)


def outcome(clinic: Clinic, key: str, stream: str = "patients") -> tuple[State, str, str]:
    """State, reason and field of a unit."""
    found = clinic.account.remapping.on_account(stream, [key])[key]
    return found.state, found.reason or "", found.field or ""


def family(clinic: Clinic, key: str) -> str:
    """What Medplum holds as the family name of a patient."""
    return str(clinic.held(key)["name"][0]["family"])
