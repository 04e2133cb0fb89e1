"""Whether rows can be written back as the description says, as far as reading one shows it.

Belongs here: one row of a page, read by its own address. Does not belong here: the page
(``check_streams``), or writing anything. Nothing of the row is told.
"""

from migration_assets.legacy import PulledPage, Puller, Stream
from migration_assets.legacy.writing import without

_NOT_FOUND = (
    "write.path does not find a row that the list shows: every edit made in Medplum would wait for "
    "a person; correct it, or write.select"
)


def writing_warnings(puller: Puller, stream: Stream, page: PulledPage) -> tuple[str, ...]:
    """What would keep rows of a stream from being written back; nothing where none are.

    Raises:
        Permanent, Transient: the row could not be asked for.
    """
    writer = puller.writer(stream.name)
    sound = (each for each in page.rows if each.key and not each.problem and not each.deleted)
    row = next(sound, None)
    if writer is None or row is None or row.key is None:
        return ()
    lies = writer.read(row.key)
    if lies.row is None:
        return (_NOT_FOUND,)
    kept = writer.kept_by_the_source
    found = []
    if not isinstance(lies.row.row, dict) or without(lies.row.row, kept) != without(row.row, kept):
        found.append(
            "write.path shows a row otherwise than the list does: every edit made in Medplum would "
            "look like a conflict; correct write.select, or name what differs in volatile"
        )
    if writer.locks and lies.lock is None:
        found.append(
            "the row comes without what write.if_match names: nothing would be written; name "
            "another lock, or none and why that may be"
        )
    return tuple(found)
