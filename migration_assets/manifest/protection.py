"""Protection of what is at rest, as one door: sealing, purging, and the records of both.

Belongs here: what these share of a manifest. Does not belong here: doing it (``rotation``,
``purges``, ``custody``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migration_assets.manifest.custody import Custody
from migration_assets.manifest.engine import open_engine
from migration_assets.manifest.outages import Database
from migration_assets.manifest.purges import Purges
from migration_assets.manifest.rotation import Rotation
from migration_assets.manifest.sealing import Seals, attached


@dataclass(frozen=True)
class Protection:
    """What can be done about payloads as a whole."""

    custody: Custody
    rotation: Rotation
    purges: Purges


def protection(write: Database, read: Database, now: Callable[[], int]) -> Protection:
    """The protection of the manifest that these databases are of."""
    custody = Custody(write.begin, read.begin, now)
    return Protection(custody, Rotation(write, read), Purges(write, read.begin))


def open_sealed(url: str, keys: Sequence[str]) -> sa.Engine:
    """An engine whose ``keys`` seal what is written, with the first, and open what was.

    Raises:
        Permanent: one of them is no key; and as ``engine.open_engine``.
    """
    seals = Seals(keys)
    return attached(open_engine(url), seals)
