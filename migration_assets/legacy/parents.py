"""Rows that a source gives only parent by parent: the keys to ask for, and where they go.

Belongs here: that. Does not belong here: which parents changed; the caller knows and may hand
their keys to ``Puller.pages``.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from migration_assets.errors import Permanent
from migration_assets.legacy.description import Stream


def usable_keys(keys: Iterable[str | None]) -> Iterator[str]:
    """Each key once; rows without one have no children that could be asked for."""
    seen: set[str] = set()
    for key in keys:
        if key is not None and key not in seen and key not in (".", ".."):
            seen.add(key)
            yield key


def keys_in(file: str, *, stream: str) -> Iterator[str]:
    """The keys of an id list, one a line.

    Raises:
        Permanent: the file is not there or not text.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = type(error).__name__
    else:
        yield from (line.strip() for line in lines if line.strip())
        return
    raise Permanent(f"stream {stream}: its id list {file} cannot be read ({reason})")


def for_parent(stream: Stream, key: str) -> Stream:
    """The stream as it is asked for one parent."""
    param = stream.parent.param if stream.parent is not None else None
    if param is not None:
        return stream.model_copy(update={"params": {**stream.params, param: (key,)}})
    path = (stream.path or "").replace("{parent}", quote(key, safe=""))
    return stream.model_copy(update={"path": path})
