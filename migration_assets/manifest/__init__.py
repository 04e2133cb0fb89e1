"""The account of every row, in SQL: what was landed, what became of it, what Medplum confirmed.

Belongs here: all SQL of the package. Does not belong here: HTTP, FHIR rules, or deciding what
becomes of a row. ``Manifest`` is the door; the other modules are the rooms behind it.
"""

from migration_assets.manifest.collisions import DUPLICATE_KEY
from migration_assets.manifest.contents import Content, Contents
from migration_assets.manifest.dead_letters import (
    Choice,
    DeadLetter,
    Decision,
    Group,
    Selection,
)
from migration_assets.manifest.decisions import Decisions, Redelivered
from migration_assets.manifest.leases import Lease
from migration_assets.manifest.manifest import Manifest
from migration_assets.manifest.pauses import Pause
from migration_assets.manifest.records import (
    Absent,
    Alongside,
    Attempt,
    Balance,
    Exceptions,
    Landed,
    LandingRow,
    Settlement,
    State,
    SweepEnd,
    Swept,
    Target,
    Unit,
    token,
)

__all__ = [
    "DUPLICATE_KEY",
    "Absent",
    "Alongside",
    "Attempt",
    "Balance",
    "Choice",
    "Content",
    "Contents",
    "DeadLetter",
    "Decision",
    "Decisions",
    "Exceptions",
    "Group",
    "Landed",
    "LandingRow",
    "Lease",
    "Manifest",
    "Pause",
    "Redelivered",
    "Selection",
    "Settlement",
    "State",
    "SweepEnd",
    "Swept",
    "Target",
    "Unit",
    "token",
]
