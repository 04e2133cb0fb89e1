"""Everything that speaks to Medplum: tokens, quota, bundles, delivery, outcomes.

Belongs here: what the contract with the server forces. Does not belong here: which units are due
or what becomes of them (``pipeline``), and SQL. The manifest is not known here.
"""

from migration_assets.medplum.answers import EDITED, GONE, Answer, Delivered, Verdict
from migration_assets.medplum.bundles import Member, Submission
from migration_assets.medplum.client import (
    Ambiguous,
    Fhir,
    MedplumClient,
    find_by_identifier,
)
from migration_assets.medplum.contents import DELETION, content_print
from migration_assets.medplum.deliver import NEEDS_TRANSACTIONS, Deliverer
from migration_assets.medplum.quota import Pacer

__all__ = [
    "DELETION",
    "EDITED",
    "GONE",
    "NEEDS_TRANSACTIONS",
    "Ambiguous",
    "Answer",
    "Delivered",
    "Deliverer",
    "Fhir",
    "MedplumClient",
    "Member",
    "Pacer",
    "Submission",
    "Verdict",
    "content_print",
    "find_by_identifier",
]
