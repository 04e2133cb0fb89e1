"""The walk: page one of «changed since the last time seen», again and again.

Belongs here: when to ask anew, when to page inside one instant, and the two promises a source can
break (ascending order, a filter that includes equality). Does not belong here: pages inside an
instant, which are the ordinary pagers'.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

from migration_assets.errors import Permanent
from migration_assets.legacy.pagers import PageRequest, PageSeen, Paging

_STEPS_BEFORE_A_VERDICT = 3  # rows at the edge of three steps in a row did not all just change
_REPEATED_HOUR = dt.timedelta(hours=1)


@dataclass
class _Promises:
    """What the source must do for a walk to be complete, checked as far as it shows."""

    zoneless: bool
    latest: dt.datetime | None = None
    edge: frozenset[str | None] = frozenset()
    steps: int = field(default=0)
    kept: int = field(default=0)

    def check(self, page: PageSeen, *, asked_anew: bool) -> None:
        latest = None if asked_anew else self.latest
        slack = _REPEATED_HOUR if self.zoneless else dt.timedelta(0)
        for row in page.rows:
            moment = row.changed_at
            if moment is None:
                continue
            if latest is not None and moment < latest - slack:
                raise Permanent(
                    "a walk needs rows in ascending order of the cursor's field, and they are not: "
                    "rows would be skipped; sort by it, or use another pager"
                )
            latest = moment if latest is None else max(moment, latest)
        self.latest = latest
        if asked_anew and self.edge:
            self.steps += 1
            self.kept += any(row.key in self.edge for row in page.rows)
            if self.steps >= _STEPS_BEFORE_A_VERDICT and self.kept == 0:
                raise Permanent(
                    "a walk needs a lower filter that includes equality, and it does not: of rows "
                    "at one instant some would be skipped; is there a >= for cursor.send?"
                )


def walk(
    start: PageRequest,
    *,
    asking_since: Callable[[dt.datetime], PageRequest],
    inside: Callable[[PageRequest], Paging],
    zoneless: bool,
) -> Paging:
    """Pages until the pager inside an instant says that there is no next one.

    Asking anew is worth it only if it leaves rows behind: while a whole page is one instant, the
    pager inside goes on. Rows at the edge of a step come twice.
    """
    promises = _Promises(zoneless)
    request, asked_anew, used = start, False, {start}
    pages = inside(request)
    request = next(pages)
    while True:
        page = yield request
        promises.check(page, asked_anew=asked_anew)
        try:
            request, asked_anew = pages.send(page), False
        except StopIteration:
            return
        moments = [row.changed_at for row in page.rows if row.changed_at is not None]
        if not moments:
            continue
        first, last = asking_since(min(moments)), asking_since(max(moments))
        if first != last and last not in used:
            used.add(last)
            promises.edge = frozenset(
                row.key for row in page.rows if row.changed_at == max(moments)
            )
            pages = inside(last)
            request, asked_anew = next(pages), True
