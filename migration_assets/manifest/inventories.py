"""What each delivered resource refers to: element paths and tokens, as Medplum confirmed them.

Belongs here: keeping and reading that. Does not belong here: finding references in a resource
(``fhir.references``), or whether they lead where they should (``reconciliation``).
"""

from collections.abc import Iterable

import orjson
import sqlalchemy as sa

from migration_assets.manifest.reconciliation_tables import delivered_references
from migration_assets.manifest.records import Target, chunked
from migration_assets.manifest.schema import targets

Named = tuple[tuple[str, str], ...]
"""Element path and token of the target, in document order."""


def keep_references(connection: sa.Connection, confirmed: Iterable[Target]) -> None:
    """Keep what these were delivered with; where that is not known, nothing stays behind."""
    named = {each.token: each.references for each in confirmed}
    for part in chunked(named):
        query = sa.select(targets.c.id, targets.c.token).where(targets.c.token.in_(part))
        numbers = {row.token: row.id for row in connection.execute(query)}
        old = delivered_references.c.target_id.in_(list(numbers.values()))
        connection.execute(sa.delete(delivered_references).where(old))
        rows = [
            {"target_id": number, "named": orjson.dumps(named[name]).decode()}
            for name, number in numbers.items()
            if named[name] is not None
        ]
        if rows:
            connection.execute(sa.insert(delivered_references), rows)


def references_of(connection: sa.Connection, target_ids: Iterable[int]) -> dict[int, Named]:
    """What is known of these, by the account's number; unknown ones are left out."""
    found: dict[int, Named] = {}
    for part in chunked(map(str, target_ids)):
        query = sa.select(delivered_references).where(
            delivered_references.c.target_id.in_([int(each) for each in part])
        )
        for row in connection.execute(query):
            found[row.target_id] = tuple((path, name) for path, name in orjson.loads(row.named))
    return found
