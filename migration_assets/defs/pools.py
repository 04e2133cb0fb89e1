"""The pool of a source's runs: how many may go out with one credential at a time.

Belongs here: its name. Does not belong here: its limit (``dagster.yaml``, or ``dagster instance
concurrency set``), or requests per second, which the description's ``limits`` hold across all
processes. Medplum's quota is shared through the account and needs no pool.
"""

import re

from migration_assets.connections import Connections
from migration_assets.errors import MigrationError

UNDESCRIBED = "legacy_api"


def pool_name(connections: Connections) -> str:
    """Named by the budget or the name of the source, so that two of them do not share a limit.

    Where no source is set, or its description cannot be read, the code location loads all the
    same: what is wrong is said when something is launched.
    """
    try:
        source = connections.source()
    except MigrationError:
        return UNDESCRIBED
    return f"{UNDESCRIBED}_{re.sub(r'[^A-Za-z0-9_]', '_', source.budget or source.name)}"
