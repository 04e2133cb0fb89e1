"""The account of every row, in SQL: what was landed, what became of it, what Medplum confirmed.

Belongs here: all SQL of the package. Does not belong here: HTTP, FHIR rules, or deciding what
becomes of a row. ``Manifest`` is the door; the other modules are the rooms behind it.
"""

from migration_assets.manifest.manifest import Lease, Manifest
from migration_assets.manifest.records import (
    Attempt,
    Balance,
    Exceptions,
    Landed,
    LandingRow,
    Settlement,
    State,
    Target,
    Unit,
    token,
)

__all__ = [
    "Attempt",
    "Balance",
    "Exceptions",
    "Landed",
    "LandingRow",
    "Lease",
    "Manifest",
    "Settlement",
    "State",
    "Target",
    "Unit",
    "token",
]
