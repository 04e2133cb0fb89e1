"""Whether a stream that is asked for parent by parent gets the keys it takes.

Belongs here: what can only be told once every stream is drafted. Does not belong here: finding the
parent (``naming``). A key of another kind is refused by the source, or answered with the rows of
somebody else: notes of patient 17 for the record number 17.
"""

from collections.abc import Sequence

from migration_assets.legacy.drafting.streams import StreamDraft
from migration_assets.legacy.drafting.words import joined, one_line, singular


def settle_parents(streams: Sequence[StreamDraft]) -> None:
    """Leave out the streams whose parent is left out, or gives another kind of key."""
    by_name = {one.name: one for one in streams}
    for one in streams:
        if one.parent is not None and not _takes(one.asks_by, by_name[one.parent]):
            one.blocked.append(
                f"it takes {one_line(one.asks_by)}, and {one.parent} may give another kind of key: "
                "with that come the rows of somebody else"
            )
    for one in streams:
        above, seen = one, {one.name}
        while above.parent is not None and above.parent not in seen and not one.blocked:
            seen.add(above.parent)
            above = by_name[above.parent]
            if above.blocked:
                one.blocked.append(f"{above.name}, whose keys it takes, is left out too")
        if above.parent in seen:
            one.blocked.append("it would be asked for by keys of its own")


def _takes(parameter: str, parent: StreamDraft) -> bool:
    key = parent.said["id"]
    if not isinstance(key, str):
        return False  # a key of two parts goes into no single place
    asked, own = joined(parameter), joined(singular(parent.name))
    key = joined(key.rpartition(".")[2])
    if asked in (key, "id", own, own + "id", own + key, f"{own}key"):
        return True
    if asked in parent.holds:
        return False
    if asked.endswith(("uuid", "guid")):
        return key.endswith(("uuid", "guid"))
    return asked.endswith("id")
