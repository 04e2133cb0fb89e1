"""A description, asked otherwise for one run: smaller pages, a clinical range, less patience.

Belongs here: what a person or a probe may change for once. Does not belong here: the description
itself, which says what holds every time.
"""

import datetime as dt
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.legacy.description import Source, Stream
from migration_assets.legacy.description.paging import PagerDescription, Walk

_CONNECT, _READ = 3.0, 6.0


def with_page_size(source: Source, stream: str, size: int) -> Source:
    """The source with another page size for one stream.

    Raises:
        Permanent: the stream's pager has no size to set, or the size is beyond the described
            maximum (``max_size``, else the size itself).
    """
    described = source.stream(stream)
    pager = described.pager
    inner = pager.within_tie if isinstance(pager, Walk) else pager
    described_size = getattr(inner, "size", None)
    if described_size is None or getattr(inner, "size_param", None) is None:
        raise Permanent(
            f"page_size means nothing for {stream}: its description's pager ({pager.type}) says "
            "no size and size_param. Change the description's params, or leave page_size out."
        )
    largest = getattr(inner, "max_size", None) or described_size
    if not 1 <= size <= largest:
        raise Permanent(
            f"page_size {size} is refused for {stream}: its description allows 1 to {largest}. An "
            "API that is asked for more may send less without a word; raise max_size of the "
            "pager if it really takes more."
        )
    smaller: PagerDescription = inner.model_copy(update={"size": size, **_overlap(inner, size)})
    if isinstance(pager, Walk):
        smaller = pager.model_copy(update={"within_tie": smaller})
    return _with_stream(source, described.model_copy(update={"pager": smaller}))


def with_record_range(
    source: Source, stream: str, since: dt.date | None, until: dt.date | None
) -> Source:
    """The source with one stream asked for a range of clinical dates alone.

    Raises:
        Permanent: the description names no filter by clinical date for the stream.
    """
    described = source.stream(stream)
    if described.record_date is None or described.record_date.param is None:
        raise Permanent(f"the API's stream {stream} has no filter by clinical date")
    asked = described.record_date.asking(since, until)
    return _with_stream(
        source, described.model_copy(update={"params": {**described.params, **asked}})
    )


def hurried(source: Source, *, deadline: float, read: float = _READ) -> Source:
    """The source asked with little patience: one try, and ``deadline`` seconds for an answer.

    ``read`` is the longest silence within it.
    """
    http = source.http
    hurry = {
        "timeout_connect": min(http.timeout_connect, _CONNECT),
        "timeout_read": min(http.timeout_read, read),
        "deadline": min(http.deadline, deadline),
        "attempts": 1,
    }
    return source.model_copy(update={"http": http.model_copy(update=hurry)})


def _overlap(pager: Any, size: int) -> dict[str, int]:
    overlap = getattr(pager, "overlap", 0)
    return {"overlap": min(overlap, size - 1)} if overlap else {}


def _with_stream(source: Source, changed: Stream) -> Source:
    others = tuple(each for each in source.streams if each.name != changed.name)
    return source.model_copy(update={"streams": (*others, changed)})
