"""The dates and times of one field, counted: forms, zones, order, extremes, impossible ones.

Belongs here: the tally, and whether a field holds dates at all. Does not belong here: reading one
value (``dates``).
"""

import datetime as dt
from collections import Counter
from dataclasses import dataclass

from migration_assets.profiling.dates import Moment
from migration_assets.profiling.zones import fitting_zones, quiet_hours

_OFFSETS_KEPT = 600
"""Pairs of month and offset: fifty years of a zone with two."""
_MOST = 0.5


@dataclass(frozen=True, kw_only=True)
class Dates:
    """What the dates and times of a field are like; counts of values.

    ``earliest`` and ``latest`` are months, or years for a field that dates a life. ``zones`` of
    times only; ``none`` are those without. ``zone_fits`` are zones that have every offset seen.
    """

    values: int
    forms: dict[str, int]
    impossible: int
    unreadable: int
    zones: dict[str, int]
    order: dict[str, int]
    earliest: str | None
    latest: str | None
    zone_fits: tuple[str, ...]
    quiet_hours: str | None

    @property
    def zoneless_share(self) -> float | None:
        """Share of times without a zone; None if there are no times."""
        times = sum(self.zones.values())
        return self.zones.get("none", 0) / times if times else None


class MomentTally:
    """Counts moments; what they say is bounded by the forms, offsets and hours there are."""

    def __init__(self) -> None:
        self._forms: Counter[str] = Counter()
        self._zones: Counter[str] = Counter()
        self._order: Counter[str] = Counter()
        self._hours: Counter[int] = Counter()
        self._offsets: dict[tuple[int, int, str], dt.datetime] = {}
        self._strong = self._impossible = 0
        self._least: dt.datetime | None = None
        self._greatest: dt.datetime | None = None

    def add(self, moment: Moment, count: int) -> None:
        """Note a moment that occurs ``count`` times."""
        self._forms[moment.form] += count
        self._strong += 0 if moment.weak else count
        if moment.zone is not None:
            self._zones[moment.zone] += count
        if moment.order is not None:
            self._order[moment.order] += count
        wall = moment.wall
        if wall is None:
            self._impossible += 0 if moment.undated else count
            return
        self._least = wall if self._least is None else min(wall, self._least)
        self._greatest = wall if self._greatest is None else max(wall, self._greatest)
        if moment.zone == "none":
            self._hours[wall.hour] += count
        elif moment.zone is not None and len(self._offsets) < _OFFSETS_KEPT:
            self._offsets.setdefault((wall.year, wall.month, moment.zone), wall)

    def told(self, meaningful: int, *, by_name: bool, years_only: bool) -> Dates | None:
        """What was counted, if the field holds dates.

        Args:
            meaningful: values of the field that are neither blank nor a sentinel.
            by_name: the field's name speaks of time, so that bare numbers may be dates too.
            years_only: tell extremes by year (a field that dates a life), else by month.
        """
        read = self._forms.total()
        if not read or not (by_name or self._strong > _MOST * meaningful):
            return None
        form = "%Y" if years_only else "%Y-%m"
        return Dates(
            values=read,
            forms=dict(self._forms.most_common()),
            impossible=self._impossible,
            unreadable=max(0, meaningful - read),
            zones=dict(self._zones.most_common()),
            order=dict(self._order.most_common()),
            earliest=None if self._least is None else _written(self._least, form),
            latest=None if self._greatest is None else _written(self._greatest, form),
            zone_fits=self._zone_fits(),
            quiet_hours=quiet_hours(self._hours),
        )

    def _zone_fits(self) -> tuple[str, ...]:
        if set(self._zones) <= {"Z", "none"}:
            return ()
        return fitting_zones((wall, key[2]) for key, wall in self._offsets.items())


def _written(moment: dt.datetime, form: str) -> str:
    # strftime does not pad years before 1000 on every system.
    return moment.date().isoformat()[: 4 if form == "%Y" else 7]
