"""The streams of ``migration check``: a first page of each, and what it shows of the stream.

Belongs here: asking for the page, mapping its rows in memory, and telling it in few words. Does
not belong here: what a page shows (``legacy.inspection``). Nothing of a row is told but counts.

Somebody sits and waits: a stream is asked once, with the patience that was asked for, and streams
that do not answer use up a few times that patience together, not for each of them.
"""

import datetime as dt
import itertools
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from migration_assets.cli.check_writing import writing_warnings
from migration_assets.cli.findings import Finding, tried
from migration_assets.connections import Connections
from migration_assets.errors import Transient
from migration_assets.legacy import PulledPage, PulledRow, Puller, Source, Stream
from migration_assets.legacy.asking_otherwise import hurried
from migration_assets.legacy.inspection import carries_zoneless_times, inspect
from migration_assets.legacy.suspicions import Seen
from migration_assets.mapping import Mapping
from migration_assets.steps.preparation import preview

PATIENCE = 20.0
"""Seconds for an answer; a first page of a slow API takes ten."""
_SILENT = 3
"""How many patiences are spent on streams that do not answer where others do."""
_LATELY = dt.timedelta(days=2)  # the newest times say most about their zone


@dataclass(frozen=True)
class _Looked:
    """A stream's first page, what it showed, and what it took."""

    page: PulledPage
    seen: Seen
    requests: int
    seconds: float


def impatient(connections: Connections, patience: float) -> Connections:
    """Connections whose source is asked once, and waited for no longer than that."""

    def briefly(seconds: float) -> None:
        if seconds > patience:
            raise Transient(
                f"The source's limits leave no request for {seconds:.0f} s; others use them up. "
                "Check again then, or give more time with --patience."
            )
        connections.sleep(seconds)

    return replace(
        connections,
        asking=lambda source: hurried(connections.asking(source), deadline=patience, read=patience),
        sleep=briefly,
    )


def stream_findings(
    source: Source,
    puller: Puller,
    mappings: Iterable[Mapping[Any]],
    only: Sequence[str],
    *,
    patience: float = PATIENCE,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Finding]:
    """A finding for each mapping's stream, or for each of ``only``, mapped or not."""
    by_stream = {mapping.stream: mapping for mapping in mappings}
    in_vain, answers = 0.0, 0
    for name in only or by_stream:
        claim = f"stream {name}"
        if in_vain >= patience * (_SILENT if answers else 1):
            told = f"not asked: {in_vain:.0f} s went by without an answer from those before it. "
            told += "Mend that first; where the source is only slow, give more with --patience."
            yield Finding(claim, "failed", told)
            continue
        began = monotonic()
        looked, said = tried(claim, partial(_look, source, puller, name), lambda _: "")
        answers += looked is not None
        in_vain += 0.0 if looked is not None else monotonic() - began
        yield said if looked is None else _finding(claim, looked, by_stream.get(name))


def _look(source: Source, puller: Puller, name: str) -> _Looked:
    """The first page; a second only where the first leaves open whether there is one."""
    stream = source.stream(name)
    requests, began, asked_at = puller.requests_made, time.monotonic(), time.time()
    with closing(_pages(puller, stream, None)) as pages:
        page = next(pages)
        seen = partial(inspect, stream, page, asked_at=asked_at, answered_at=time.time())
        following = _following(stream, seen(), pages)
    recent: tuple[PulledRow, ...] = ()
    if carries_zoneless_times(stream, page):
        recent = _lately(stream, puller, page)
    told = seen(following=following, recent=recent)
    told = replace(told, warnings=(*told.warnings, *writing_warnings(puller, stream, page)))
    seconds = round(time.monotonic() - began, 2)
    return _Looked(page, told, puller.requests_made - requests, seconds)


def _pages(
    puller: Puller, stream: Stream, since: dt.datetime | None
) -> Generator[PulledPage, None, None]:
    yield from puller.pages(stream.name, since, None)


def _following(stream: Stream, seen: Seen, pages: Iterator[PulledPage]) -> int | None:
    """How many rows the second page has, where only that tells a capped page from a last one."""
    short = seen.asked is not None and 0 < seen.served < seen.asked
    if not short or seen.more is not None or stream.parent is not None or stream.feeds:
        return None
    page = next(pages, None)
    return 0 if page is None else len(page.rows)


def _lately(stream: Stream, puller: Puller, page: PulledPage) -> tuple[PulledRow, ...]:
    if stream.cursor is None or stream.cursor.param is None or stream.queue is not None:
        return ()
    with closing(_pages(puller, stream, page.server_time - _LATELY)) as pages:
        return next(pages).rows


def _finding(claim: str, looked: _Looked, mapping: Mapping[Any] | None) -> Finding:
    seen, rows = looked.seen, looked.page.rows
    told = f"answers; one page of {len(rows)} rows"
    if seen.field is None:
        told += "; no change time: every pull reads it whole"
    trouble = _trouble(rows, mapping)
    if trouble:
        reasons = ", ".join(f"{count}x {reason}" for reason, count in trouble.most_common(3))
        told += f"; would be quarantined: {reasons}"
    elif mapping is None:
        told += "; no mapping reads it"
    elif mapping.transformer is not None:
        told += f"; its Bot {mapping.transformer.name} is not asked of them here"
    else:
        told += ", all of which map and validate" if rows else ""
    facts = asdict(seen) | {"requests": looked.requests, "seconds": looked.seconds}
    return Finding(
        claim,
        "warning" if trouble or seen.warnings else "ok",
        told,
        details=tuple(_details(looked)),
        warnings=seen.warnings,
        seen={"rows_in_trouble": trouble.total(), **facts},
    )


def _trouble(rows: Iterable[PulledRow], mapping: Mapping[Any] | None) -> Counter[str]:
    """The first reason of each row that could not be delivered."""
    found: Counter[str] = Counter()
    for row in rows:
        if row.deleted:
            continue
        problems: Sequence[Any] = (row.problem,) if row.problem else ()
        if mapping is not None and mapping.transformer is None and not problems:
            problems = preview(mapping, "", row.row).problems
        found.update(str(problem) for problem in itertools.islice(problems, 1))
    return found


def _details(looked: _Looked) -> Iterator[str]:
    seen = looked.seen
    yield _size(seen)
    if seen.field is not None or seen.by_id is not None:
        yield _order(seen)
    if seen.field is not None:
        yield _ties(seen)
        yield _times(seen)
    if seen.without_id:
        yield f"{seen.without_id} without id"
    if seen.unreadable_times:
        yield f"{seen.unreadable_times} without a readable {seen.field}"
    yield _clocks(seen)
    yield f"{looked.requests} request{'s' if looked.requests != 1 else ''}, {looked.seconds:.2f} s"


def _size(seen: Seen) -> str:
    asked = f" of {seen.asked:,} asked for" if seen.asked is not None else ""
    more = {True: ", more follow", False: ", no more follow", None: ""}[seen.more]
    if seen.total is not None:
        more = f", {seen.total:,} in all"
    capped = seen.asked is not None and seen.served < seen.asked and seen.more is True
    rows = "1 row" if seen.served == 1 else f"{seen.served:,} rows"
    return f"{rows}{asked}{more}" + (" (the source caps the page)" if capped else "")


def _order(seen: Seen) -> str:
    by_time = seen.order in ("ascending", "descending")
    by_id = seen.by_id in ("ascending", "descending")
    told = [f"{seen.order} by {seen.field}"] if by_time else []
    told += [f"{seen.by_id} by id"] if by_id else []
    if told:
        return "order: " + " and ".join(told)
    return "order: none seen" if seen.order or seen.by_id else "order: not to be seen"


def _ties(seen: Seen) -> str:
    return f"ties: {seen.tied:,}, largest {seen.largest_tie:,}" if seen.tied else "no ties"


def _times(seen: Seen) -> str:
    told = f"times to the {seen.precision[:-1]}" if seen.precision else "times too few to judge"
    if seen.zone is None:
        return told
    declared = f", read in {seen.zone.declared}" if seen.zone.declared else ""
    possible = f"{seen.zone.at_least} or more" if seen.zone.at_least else "any offset possible"
    return f"{told}, without a zone ({possible}{declared})"


def _clocks(seen: Seen) -> str:
    if seen.skew is None:
        return "no Date"
    return f"clock {seen.skew:+.1f} s" if seen.skew else "clocks agree"
