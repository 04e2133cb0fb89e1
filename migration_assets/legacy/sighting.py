"""What the source says when it is asked for one row by its key."""

import enum
from dataclasses import dataclass

from migration_assets.legacy.rows import PulledRow


class Presence(enum.Enum):
    """Whether the source has a row."""

    PRESENT = "present"
    GONE = "gone"
    UNKNOWN = "unknown"
    """It cannot be asked, or what it answered is about something else."""


@dataclass(frozen=True)
class Sighting:
    """One row, looked up; ``row`` is what came, a tombstone too, None where nothing did.

    ``landable``: it has the shape that the stream's rows have, and may take its row's place.
    """

    presence: Presence
    row: PulledRow | None = None
    landable: bool = False
