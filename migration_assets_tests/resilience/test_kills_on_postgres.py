"""A migrating process on PostgreSQL is killed at random points; the next run makes it whole."""

from random import Random

import psycopg
import psycopg.sql
import pytest

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets_tests.resilience.killing import SEED, Killer, share
from migration_assets_tests.resilience.nursery import Nursery
from migration_assets_tests.resilience.world import world

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]


@pytest.mark.parametrize("exclusive", [False, True], ids=["shared", "exclusive"])
def test_no_record_is_lost_or_doubled_by_a_kill(
    exclusive: bool, postgres_url: str, sandbox: Sandbox, lives: Nursery
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = psycopg.sql.Identifier(postgres_url.rsplit("/", 1)[1])
        # A kill of ours loses nothing that the server has: no need to wait for its disk.
        admin.execute(
            psycopg.sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name)
        )
    seed = f"{SEED} postgres {exclusive}"

    with world(sandbox, postgres_url, seed=seed, exclusive=exclusive) as one:
        killer = Killer(one, lives, Random(seed))  # noqa: S311 - to be the same again
        killer.kill(share("postgres"))
    assert killer.killed >= share("postgres")
