"""Walking through everything that a search finds, however much it is.

Belongs here: paging by ``_lastUpdated``, for an offset ends at 10,000 and the server's own cursor
fails on a page-full of one instant (contract §11). Does not belong here: what is asked, or asking
again while Medplum says not now.
"""

from collections.abc import Callable, Iterator, Mapping

from migration_assets.errors import Permanent
from migration_assets.mapping import Resource

ORDER = "_lastUpdated,_id"
_MOST_OFFSET = 10_000  # contract §11

Search = Callable[[str, Mapping[str, str]], list[Resource]]


def walk(
    search: Search, resource_type: str, query: Mapping[str, str], *, since: str = "", count: int
) -> Iterator[list[Resource]]:
    """Pages of what ``query`` finds that was written at or after ``since``, oldest first.

    What is written meanwhile moves to the end and is met there, perhaps a second time; what commits
    late may be passed by.

    Raises:
        Permanent: more resources than an offset reaches were written in one instant; or as
            ``search``.
    """
    offset = 0
    while True:
        place = {"_lastUpdated": f"ge{since}"} if since else {}
        place |= {"_offset": str(offset)} if offset else {}
        page = search(resource_type, {**query, "_sort": ORDER, **place, "_count": str(count)})
        if page:
            yield page
        if len(page) < count:
            return
        last = str(page[-1]["meta"]["lastUpdated"])
        # As long as an instant fills whole pages there is only the offset to go on by.
        offset = offset + count if last == since else 0
        if offset > _MOST_OFFSET:
            raise Permanent(
                f"More than {_MOST_OFFSET} {resource_type} resources were written in one "
                "millisecond: Medplum offers no way to page through them."
            )
        since = last
