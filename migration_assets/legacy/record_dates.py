"""The clinical date of a row, as its description says where it stands.

Belongs here: reading it. Does not belong here: what a description may say (``description``).
"""

import datetime as dt
from collections.abc import Callable
from typing import Any

from migration_assets.legacy.description.record_date import RecordDate
from migration_assets.legacy.rows import value_at


def date_of(described: RecordDate) -> Callable[[Any], dt.date | None]:
    """A function from a row to its clinical date; None where there is none to be read."""
    read, field = described.date_reader(), described.field

    def day(row: Any) -> dt.date | None:
        return read(value_at(row, field))

    return day
