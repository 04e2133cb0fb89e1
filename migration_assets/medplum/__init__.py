"""Everything that speaks to Medplum: tokens, quota, bundles, delivery, outcomes.

Belongs here: what the contract with the server forces. Does not belong here: which units are due
or what becomes of them (``pipeline``), and SQL. The manifest is not known here.
"""

from migration_assets.medplum.answers import (
    DUPLICATE,
    EDITED,
    GONE,
    NOT_WRITTEN,
    Answer,
    Delivered,
    Verdict,
)
from migration_assets.medplum.bots import FoundBot, RunsBots, find_bot
from migration_assets.medplum.bundles import Member, Submission
from migration_assets.medplum.client import (
    Auth,
    Fhir,
    MedplumClient,
    find_by_identifier,
)
from migration_assets.medplum.conflicts import Authority
from migration_assets.medplum.contents import DELETION, content_print
from migration_assets.medplum.deliver import Deliverer, Manner, Via
from migration_assets.medplum.packing import NEEDS_TRANSACTIONS
from migration_assets.medplum.quota import Pacer
from migration_assets.medplum.wire import Ambiguous, Throttled, Unacceptable

__all__ = [
    "DELETION",
    "DUPLICATE",
    "EDITED",
    "GONE",
    "NEEDS_TRANSACTIONS",
    "NOT_WRITTEN",
    "Ambiguous",
    "Answer",
    "Auth",
    "Authority",
    "Delivered",
    "Deliverer",
    "Fhir",
    "FoundBot",
    "Manner",
    "MedplumClient",
    "Member",
    "Pacer",
    "RunsBots",
    "Submission",
    "Throttled",
    "Unacceptable",
    "Verdict",
    "Via",
    "content_print",
    "find_bot",
    "find_by_identifier",
]
