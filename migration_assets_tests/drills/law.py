"""What holds after every drill: the law of the account, at the clinic's and at Medplum's end.

Belongs here: looking at the account and the target. Does not belong here: runs and pools
(``asking``).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from migration_assets.defs.orphans import UNDER_WAY_SECONDS
from migration_assets.manifest import State
from migration_assets.manifest.schema import leases, requests_made
from migration_assets.mappings import discover
from migration_assets.reconciliation.presence import presence
from migration_assets_tests.drills.installation import Installation


def assert_the_law(made: Installation) -> None:
    """Every row is settled, Medplum holds each resource once and none besides; no lease."""
    with made.connections().manifest() as manifest:
        fhir = made.connections().medplum()
        assert fhir is not None
        balances = manifest.balances()
        assert balances
        for stream, balance in balances.items():
            assert balance.holds, stream
            assert balance.by_state[State.PENDING] == 0, (stream, balance)
        found = {
            name: presence(manifest, fhir, name)
            for each in discover().values()
            for name in each.types
        }
        assert all(each.agrees for each in found.values()), found
        assert sum(each.expected for each in found.values()) > 0
        held: Mapping[str, int] = made.sandbox.stats()["resources"]
        assert {name: held.get(name, 0) for name in found} == {
            name: each.expected for name, each in found.items()
        }
    with _account(made) as connection:
        assert connection.execute(sa.select(leases)).all() == []


def forget_the_dead(made: Installation) -> None:
    """Two minutes go by for the leases: nothing that the dead sent is under way any more."""
    with _account(made) as connection:
        past = int(UNDER_WAY_SECONDS + 1) * 1_000_000
        connection.execute(sa.update(leases).values(renewed_at=leases.c.renewed_at - past))


def requests_counted(made: Installation) -> int:
    """How many requests to the legacy API all processes together counted on its budget."""
    with _account(made) as connection:
        return connection.scalar(sa.select(sa.func.max(requests_made.c.number))) or 0


@contextmanager
def _account(made: Installation) -> Iterator[sa.Connection]:
    url = made.variables["MIGRATION_MANIFEST_URL"]
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()
