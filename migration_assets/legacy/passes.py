"""One window, read again where a reading may have missed a row.

Belongs here: how often, and when to give up. Does not belong here: what shows that a reading is
complete (``completeness``), or one reading (``reading``).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.completeness import Reading, Tally
from migration_assets.legacy.description import Stream
from migration_assets.legacy.pagers import DriftError, RepeatedPageError
from migration_assets.legacy.reading import Read

_READINGS = 3  # of a stream whose rows move while it is read, before giving the turn back
_PASSES = 4  # of one that must be proven whole


def until_complete(
    once: Callable[[Tally], Iterator[Read]],
    stream: Stream,
    *,
    whole: bool,
    filtered: bool,
    where: str,
) -> Iterator[Read]:
    """The pages of a window, all passes of it; ``whole`` asks for a proof that no row is missing.

    A pass that repeats another leaves out rows that came before if each costs a request of its own.

    Raises:
        Transient: no reading was complete.
        Permanent: a page came twice in a row, and did so when it was read again.
    """
    before: Reading | None = None
    again = repeated = False
    for _ in range(_PASSES if whole else _READINGS):
        tally = Tally(stream, whole=whole, filtered=filtered, where=where)
        try:
            for read in once(tally):
                yield read if before is None or stream.detail is None else _news(read, before)
        except DriftError as drift:
            again, repeated = repeated, isinstance(drift, RepeatedPageError)
            if again and repeated:
                break
            continue
        again = repeated = False
        now = tally.finished()
        if now.is_complete(whole=whole) or now.agrees_with(before):
            return
        before = now
    if again and repeated:
        raise Permanent(
            f"{where}: two equal pages in a row: does the source know the page parameter?"
        )
    raise _not_complete(before, whole=whole, where=where)


def _news(read: Read, before: Reading) -> Read:
    return replace(read, rows=tuple([row for row in read.rows if not before.has(row.key)]))


def _not_complete(last: Reading | None, *, whole: bool, where: str) -> Transient:
    readings = _PASSES if whole else _READINGS
    if last is not None and last.missing:
        return Transient(
            f"{where}: it counts {last.total} rows, and {last.missing} of them did not come in "
            f"{readings} readings: pull when fewer people work, or remove total if it counts "
            "others too"
        )
    return Transient(
        f"{where}: rows moved between pages in {readings} readings: "
        "pull when fewer people work, or order the stream by something that does not change"
    )
