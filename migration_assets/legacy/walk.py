"""The walk: page one of «changed since the last time seen», again and again.

Belongs here: when to ask anew, when to page inside one instant, and the two promises a source can
break (ascending order, a filter that includes equality). Does not belong here: pages inside an
instant, which are the ordinary pagers'.
"""

import datetime as dt
from array import array
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

from migration_assets.errors import Permanent
from migration_assets.legacy.completeness import each_once
from migration_assets.legacy.description import Cursor
from migration_assets.legacy.pagers import DriftError, PageRequest, PageSeen, Paging
from migration_assets.legacy.timestamps import floor_to_tick, misread_by

_PASSES = 4  # over one instant, before the whole reading begins anew
_NO_TIME, _TICK = dt.timedelta(0), dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NEVER = -(2**63)
_STEPS_BEFORE_A_VERDICT = 3  # rows at the edge of three steps in a row did not all just change


@dataclass
class _Promises:
    """What the source must do for a walk to be complete, checked as far as it shows."""

    cursor: Cursor
    latest: dt.datetime | None = None
    edge: frozenset[str | None] = frozenset()
    steps: int = field(default=0)
    kept: int = field(default=0)

    def check(self, page: PageSeen, *, asked_anew: bool) -> None:
        latest = before = None if asked_anew else self.latest
        for row in page.rows:
            moment = row.changed_at
            if moment is None:
                continue
            if latest is None or moment > latest:
                latest = moment
            elif moment < latest and moment < latest - misread_by(self.cursor, latest):
                if latest is before:  # it rose again on this page: what was dated ahead came back
                    raise DriftError
                raise Permanent(
                    "a walk needs rows in ascending order of the cursor's field, and they are not: "
                    "rows would be skipped; sort by it, or use another pager"
                )
        self.latest = latest
        if self.edge:
            self.steps += 1
            self.kept += any(row.key in self.edge for row in page.rows)
            self.edge = frozenset()
            if self.steps >= _STEPS_BEFORE_A_VERDICT and self.kept == 0:
                raise Permanent(
                    "a walk needs a lower filter that includes equality, and it does not: of rows "
                    "at one instant some would be skipped; is there a >= for cursor.send?"
                )

    def expect(self, page: PageSeen) -> None:
        """The last rows of this page are the first of the next one, which is asked for anew."""
        latest = max(row.changed_at for row in page.rows if row.changed_at is not None)
        self.edge = frozenset(row.key for row in page.rows if row.changed_at == latest)


@dataclass
class _Step:
    """One question «changed since», and the earliest change time of its answer so far."""

    cursor: Cursor
    lowest: dt.datetime | None = None

    def next_edge(self, page: PageSeen) -> dt.datetime | None:
        """From where to ask anew after this page, or None where that would bring it again.

        Where clocks are set, times may be off by ``misread_by``, and a bound is sent as far back
        again: there it is worth it only after twice that way, or rows would come again and again.
        """
        moments = [row.changed_at for row in page.rows if row.changed_at is not None]
        if not moments:
            return None
        edge = max(moments)
        self.lowest = min([*moments, self.lowest] if self.lowest else moments)
        off = misread_by(self.cursor, edge)
        if off:
            return edge - off if edge - self.lowest > 4 * off else None
        return edge if floor_to_tick(self.cursor, edge) > min(moments) else None


@dataclass
class _Pass:
    """The rows of one pass over a step: 16 bytes for each, as a step may be a whole import."""

    pages: int = 0
    on_the_first: int = 0
    highest: int = _NEVER
    _keys: "array[int]" = field(default_factory=lambda: array("q"))
    _moments: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, page: PageSeen) -> None:
        """Count a page's rows in."""
        moments = [_microseconds(row.changed_at) for row in page.rows]
        self._keys.extend(hash(row.key) for row in page.rows)
        self._moments.extend(moments)
        self.highest = max([self.highest, *moments])
        self.pages += 1
        if self.pages == 1:
            self.on_the_first = page.count

    def fitted(self, largest: int) -> bool:
        """True if the first page held all rows and was not full: another was ``largest``."""
        return len(self._keys) == self.on_the_first < largest

    def keys_before(self, limit: int) -> "array[int]":
        """Their keys, hashed, in order; rows without a change time are before everything."""
        both = zip(self._keys, self._moments, strict=True)
        return each_once(key for key, moment in both if moment < limit)


@dataclass
class _Walk:
    """A walk over one window."""

    cursor: Cursor
    asking_since: Callable[[dt.datetime], PageRequest]
    inside: Callable[[PageRequest], Paging]
    notices_drift: bool
    promises: _Promises
    largest: int = 0
    used: set[tuple[tuple[str, str], ...]] = field(default_factory=set)

    def step(
        self, asked: PageRequest, *, may_repeat: bool
    ) -> Generator[PageRequest, PageSeen, dt.datetime | None]:
        """The pages of one step, and from where to ask anew after it; None at the end."""
        self.used.add(asked.params)
        step, seen = _Step(self.cursor), _Pass()
        pages = self.inside(asked)
        request, begins, edge = next(pages), True, None
        while edge is None:
            page = yield replace(request, may_repeat=begins and may_repeat)
            self.promises.check(page, asked_anew=begins)
            self.largest = max(self.largest, page.count)
            seen.add(page)
            try:
                request, begins = pages.send(page), False
            except StopIteration:
                break
            edge = step.next_edge(page)
            if edge is not None and self.asking_since(edge).params in self.used:
                edge = None
        if seen.pages > 1 and not self.notices_drift and not seen.fitted(self.largest):
            yield from self._until_two_agree(asked, seen, edge)
        if edge is not None:
            self.promises.expect(page)
        return edge

    def _until_two_agree(self, asked: PageRequest, seen: _Pass, edge: dt.datetime | None) -> Paging:
        """Read the step again: a row that left it while it was read shifted others unseen.

        Two passes with the same rows prove that none left during the first of them.
        """
        for turn in range(1, _PASSES):
            again = _Pass()
            yield from self._again(asked, again, edge, turn)
            limit = seen.highest + 1 if edge is None else _microseconds(edge)
            if seen.keys_before(limit) == again.keys_before(limit):
                return
            seen = again
        raise DriftError

    def _again(
        self, asked: PageRequest, again: _Pass, edge: dt.datetime | None, turn: int
    ) -> Paging:
        pages = self.inside(asked)
        request, begins = next(pages), True
        while True:
            page = yield replace(request, turn=turn, may_repeat=begins)
            self.promises.check(page, asked_anew=begins)
            again.add(page)
            moments = [row.changed_at for row in page.rows if row.changed_at is not None]
            if edge is not None and moments:
                latest = max(moments)
                if latest - misread_by(self.cursor, latest) >= edge:
                    return
            try:
                request, begins = pages.send(page), False
            except StopIteration:
                return


def walk(
    start: PageRequest,
    *,
    cursor: Cursor,
    asking_since: Callable[[dt.datetime], PageRequest],
    inside: Callable[[PageRequest], Paging],
    notices_drift: bool,
) -> Paging:
    """Pages until the pager inside an instant says that there is no next one.

    Asking anew is worth it only if it leaves rows behind: while a whole page is one instant, the
    pager inside goes on, and unless it ``notices_drift`` itself the instant is read until two
    passes agree. Rows at the edge of a step come twice. What lies before a step's edge has been
    read: rows were seen to ascend to it.

    Raises:
        DriftError: the rows of one instant do not stand still.
        Permanent: the source does not sort or filter as a walk needs it.
    """
    walked = _Walk(cursor, asking_since, inside, notices_drift, _Promises(cursor))
    edge = yield from walked.step(start, may_repeat=False)
    while edge is not None:
        following = replace(asking_since(edge), read_until=edge)
        edge = yield from walked.step(following, may_repeat=misread_by(cursor, edge) > _NO_TIME)


def _microseconds(moment: dt.datetime | None) -> int:
    return _NEVER if moment is None else (moment - _EPOCH) // _TICK
