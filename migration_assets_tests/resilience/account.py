"""An account, what is landed and settled in it, and what must be there afterwards.

Belongs here: what the tests of outages do to an account.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest import Manifest, Settlement, State
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import migrated, row

MANY = 2_000


@contextmanager
def opened(
    url: str, clock: Clock, sleep: Callable[[float], None] = lambda _seconds: None
) -> Iterator[Manifest]:
    """An account that does not really wait."""
    manifest = Manifest(url, clock=clock, sleep=sleep)
    try:
        yield manifest
    finally:
        manifest.close()


def land(manifest: Manifest, *keys: str, text: Callable[[str], str] = str) -> None:
    """Land a page."""
    page = [row(key, text=text(key)) for key in keys]
    manifest.land("patients", page, run_id=1, reopen=False)


def wide(key: str) -> str:
    """Text that no compression makes small."""
    number = int(key[1:])
    return "".join(chr(33 + (number * 7919 + place * place * 31) % 90) for place in range(500))


def due(manifest: Manifest) -> list[Settlement]:
    """What Medplum answered of all that is pending."""
    return [migrated(each) for each in manifest.pending_units("patients", limit=MANY * 2)]


def stands(manifest: Manifest) -> tuple[int, int, int]:
    """Units pending, units migrated, attempts."""
    by_state: Any = manifest.balances()["patients"].by_state
    with manifest._read.begin() as connection:
        attempts = connection.execute(sa.text("SELECT count(*) FROM attempts")).scalar_one()
    return by_state[State.PENDING], by_state[State.MIGRATED], int(attempts)
