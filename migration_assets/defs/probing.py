"""One cheap question per stream: is there anything past the mark that is not on account?

Belongs here: asking, with little patience and in little time, and what came of it. Does not belong
here: what follows from the answers (``following``).

A sensor's tick has 60 s, of which its probes get 20 in all: each answer 6 s, one try, no waiting
for the source's limits. What could not be asked in that time is asked first by the next tick. Where
the list shows only parts of rows, a page takes a request for each row that is not on account: if
that takes all of the time there is news, and a pull is worth a run.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from migration_assets.connections import Connections
from migration_assets.defs.failing import unexpected
from migration_assets.errors import MigrationError, Transient
from migration_assets.legacy import Source, Stream
from migration_assets.legacy.asking_otherwise import hurried
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.run import Puller

ALL_SECONDS = 20.0
ANSWER_SECONDS = 6.0
SHARE = 0.2
"""How much of a source's limits the questions may use up: a backfill beside them needs the rest."""
_WAIT_SECONDS = 1.0
_PAGES = 2


class _EnoughSeenError(Exception):
    """So many rows want their detail that a pull answers it better."""


@dataclass(frozen=True)
class Probed:
    """What one stream answered; ``problem`` says why it did not."""

    mapping: Mapping[Any]
    mark: datetime
    asked_at: datetime
    rows: int = 0
    news: int = 0
    more: bool = False
    """So many rows have the mark's own time that a pull answers it better."""
    problem: str = ""

    @property
    def changed(self) -> bool:
        """Whether a pull is worth a run."""
        return bool(self.news or self.more)


def can_be_asked(described: Stream) -> bool:
    """Whether one question tells if a stream has news.

    Not one that is read parent by parent (a question for each) or that cannot filter by time (all
    of it for an answer): those are for the schedules.
    """
    if described.parent is not None:
        return False
    filters = described.cursor is not None and described.cursor.param is not None
    return filters or described.queue is not None


def seconds_between(source: Source, streams: int, now: datetime) -> float:
    """How long to wait between two looks at so many streams, by the source's limits as of now."""
    in_force = (each for each in source.limits if each.holds(now))
    return max(
        (streams * each.per_seconds / (each.requests * SHARE) for each in in_force), default=0.0
    )


def probe(
    mappings: Sequence[Mapping[Any]],
    connections: Connections,
    manifest: Manifest,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Probed]:
    """Ask the streams in turn for news past their marks; those without a mark are left out.

    Ends early when the time is used up. One stream that is down does not keep the others.
    """
    started = monotonic()

    def in_time() -> None:
        if monotonic() - started > ALL_SECONDS:
            raise _EnoughSeenError

    quick = replace(
        connections,
        asking=_hurried(connections.asking),
        sleep=_not_now,
        before_detail=in_time,
    )
    with closing(quick.puller(manifest)) as puller:
        for mapping in mappings:
            mark = manifest.high_water_mark(mapping.stream)
            if mark is None:
                continue
            if monotonic() - started > ALL_SECONDS:
                return
            asked = Probed(mapping, mark, connections.clock())
            try:
                yield _asked(asked, puller, manifest)
            except _EnoughSeenError:
                yield replace(asked, more=True)
            except MigrationError as error:
                yield replace(asked, problem=str(error))
            except Exception as error:  # noqa: BLE001 - its text may quote a row: only its kind goes on
                yield replace(asked, problem=unexpected(error, f"Asking {mapping.stream} for news"))


def _asked(asked: Probed, puller: Puller, manifest: Manifest) -> Probed:
    """Look at the first pages past the mark; one request while the source is quiet.

    Rows with the mark's own change time always come again. Should they fill several pages, the
    question is no longer cheap.
    """
    stream, rows = asked.mapping.stream, 0
    pages = puller.pages(stream, asked.mark, None)
    for page in itertools.islice(pages, _PAGES):
        rows += len(page.rows)
        news = manifest.unseen(stream, page.rows)
        if news:
            return replace(asked, rows=rows, news=news)
    return replace(asked, rows=rows, more=next(pages, None) is not None)


def _hurried(asking: Callable[[Source], Source]) -> Callable[[Source], Source]:
    return lambda source: hurried(asking(source), deadline=ANSWER_SECONDS)


def _not_now(seconds: float) -> None:
    if seconds > _WAIT_SECONDS:
        raise Transient(
            "The source's own limits leave no request for a question now; the next tick asks again."
        )
    time.sleep(seconds)
