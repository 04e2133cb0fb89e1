"""Whether anything changed in the legacy system that is not on account: asked, and followed.

Belongs here: the question that a freeze, a flip and an observation ask, and the pull that follows
news. Does not belong here: what the answer means for a step.

Of one part of a type nobody can ask: a row that is not on account may be in any. While another part
is still followed, news is landed first, which the puller would do anyway, and told apart then.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from migration_assets.pipeline import land, migrate
from migration_assets.run import Way, Window
from migration_assets.sweeping import sweep
from migration_assets.switching.cutover.desk import Case


@dataclass(frozen=True)
class News:
    """Rows of the source that are not on account as they are; ``landings`` as of the question.

    ``followed``: of a part of a type, they are on account by now.

    ``asked_at`` is the source's own time. ``whole``: it cannot filter by time, all of it was read.
    """

    rows: int
    landings: int
    asked_at: datetime | None
    whole: bool
    followed: bool = False


def news(case: Case, *, count_all: bool = False, since: datetime | None = None) -> News:
    """Ask the source what changed past the mark; nothing is landed, but for a part of a type.

    While nothing changed that is one request. It ends with the first page of news unless all are
    to be counted; of ``since`` on, by the source's time, where rows have one.

    Raises:
        Transient, Permanent: the source cannot be asked.
    """
    if not case.declared.cohorts or not case.declared.may_pull:
        return _asked(case, count_all=count_all, since=since)
    landings = case.landings()
    asked = _asked(case)
    if not asked.rows:
        return replace(asked, landings=landings)
    follow(case)
    rows = abs(case.landings() - landings)
    return replace(asked, rows=rows, landings=landings, followed=True)


def _asked(case: Case, *, count_all: bool = False, since: datetime | None = None) -> News:
    desk, stream, part = case.desk, case.mapping.stream, case.part()
    described, landings = desk.described(case.mapping), case.landings()
    mark = desk.manifest.high_water_mark(stream)
    by_time = described.cursor is not None and described.queue is None and mark is not None
    found, asked_at = 0, None
    for page in desk.run.puller.pages(stream, _since(case) if by_time else None, None):
        asked_at = page.server_time
        rows = [
            each
            for each in page.rows
            if since is None or each.changed_at is None or each.changed_at >= since
        ]
        if part.standing.cohorts and not part.standing.may_pull:
            here = part.of_keys(str(each.key) for each in rows)
            rows = [each for each in rows if str(each.key) in here]
        found += desk.manifest.unseen(stream, rows)
        if found and not count_all:
            break
    return News(found, landings, asked_at, whole=not by_time)


def follow(case: Case) -> int:
    """Pull what changed since the mark and deliver it; how many rows were new or changed.

    Raises:
        Transient, Permanent: as ``pipeline.land`` and ``migrate``.
    """
    mapping = case.mapping
    described = case.desk.described(mapping)
    with case.run() as run:
        if described.cursor is None and described.queue is None:
            landed = sweep(run, mapping).landed
        else:
            landed = land(run, mapping, Window(_since(case), None, way=Way.INCREMENTAL))
        migrate(run, mapping)
    return landed.new + landed.changed


def _since(case: Case) -> datetime | None:
    """The mark, and before it as far as the source may show changes late."""
    mark = case.desk.manifest.high_water_mark(case.mapping.stream)
    cursor = case.desk.described(case.mapping).cursor
    if mark is None or cursor is None:
        return mark
    return mark - timedelta(seconds=cursor.lookback_seconds)
