"""Ranges by clinical date: the encounters of 2023, whenever somebody last touched them.

Belongs here: which rows a range means, and how they come on account or are opened again. Does not
belong here: the change time (``pipeline``); a range never moves the mark, nor is it a window.

Where the API filters by the date, it is asked for the range. What it sent, or all that landed
where it cannot filter, is looked at again here: the date stands in the row. A row whose date cannot
be read is in no range, and counted.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.legacy import Stream
from migration_assets.legacy.record_dates import date_of
from migration_assets.manifest import Alongside, Landed
from migration_assets.mapping import Mapping
from migration_assets.run import Run
from migration_assets.steps.landing import land_page
from migration_assets.steps.pausing import note_landed, refuse_paused


@dataclass(frozen=True)
class ClinicalRange:
    """Clinical dates in [since, until); None is an open end."""

    since: date | None
    until: date | None

    def holds(self, day: date) -> bool:
        """Whether a day lies in the range."""
        return (self.since is None or day >= self.since) and (
            self.until is None or day < self.until
        )


@dataclass(frozen=True)
class Ranged:
    """What a range came to; ``keys`` are those of its rows, ``reopened`` how many settled ones."""

    landed: Landed
    keys: tuple[str, ...]
    reopened: int
    undated: int


def choose_range(
    run: Run, mapping: Mapping[Any], described: Stream, wanted: ClinicalRange
) -> Ranged:
    """Make the rows of a range pending, pulled anew if the API can be asked for them.

    The run's puller must ask for the range already (``asking_otherwise.with_record_range``).

    Raises:
        Transient, Permanent: the source cannot be pulled, or the stream is paused.
    """
    refuse_paused(run, mapping)
    date_described = described.record_date
    if date_described is None:
        raise Permanent(f"The description of {described.name} names no clinical date.")
    landed = Landed()
    if date_described.param is not None:
        for page in run.puller.pages(mapping.stream, None, None):
            # No seed: where no window was pulled, following would begin in the middle.
            some = land_page(run, mapping, page, reopen=False, alongside=Alongside())
            note_landed(run, mapping, some)
            landed += some
    keys: list[str] = []
    undated = 0
    day_of = date_of(date_described)
    for contents in run.manifest.contents.rows(mapping.stream):
        for each in contents:
            day = day_of(each.row)
            undated += day is None
            if day is not None and wanted.holds(day):
                keys.append(each.key)
    reopened = run.manifest.remapping.reopen(mapping.stream, keys)
    return Ranged(landed, tuple(keys), reopened, undated)
