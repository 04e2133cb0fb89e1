"""Which of two versions of a row counts: the one on account, or the one that is served now.

Belongs here: what change times, tombstones and sweeps say about that. Does not belong here: rows
that collided before, and what was decided about them (``collisions``).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from migration_assets.manifest.collisions import DUPLICATE_KEY
from migration_assets.manifest.records import SKEW_MICROS


class Served(Protocol):
    """A row on its way into the account."""

    @property
    def changed_at(self) -> int | None:
        """When it changed, in microseconds."""

    @property
    def deleted(self) -> bool:
        """Whether it is a tombstone."""


def older(each: Served, known: Any, *, now: int, slack: int, began: int | None) -> bool:
    """Whether we hold a newer row; one dated in the future proves nothing once it is mended.

    A sweep asks for what is there now: a row that was on account before it began has been taken
    back by the source to what it serves (a backup restored, a soft delete undone).
    """
    if began is not None and known.landed_at < began:
        return False
    return (
        each.changed_at is not None
        and known.changed_at is not None
        and each.changed_at + slack < known.changed_at <= now + SKEW_MICROS
    )


def collides(each: Served, known: Any, run_id: int | None) -> bool:
    """Whether the key has other content that this run served, or that already collided with it.

    Of the same change time: nothing says which of the two is newer. A tombstone collides with
    nothing: the row it ends may have changed within the same tick.
    """
    if each.deleted or known.deleted:
        return False
    met = known.seen_run == run_id or known.reason == DUPLICATE_KEY
    return bool(met and known.changed_at == each.changed_at)


def date_ends(candidates: Iterable[Any], stored: Mapping[str, Any]) -> None:
    """Tombstones that say no time (a key alone) end the version that is on account."""
    for each in candidates:
        if each.deleted and each.changed_at is None and each.key in stored:
            each.changed_at = stored[each.key].changed_at


def outlived(each: Served, known: Any, run_id: int | None) -> bool:
    """Whether this run served the row's tombstone already, of the same change time.

    Of events (no run) whichever told of it: an update that comes late was made before that.
    """
    ended = known.deleted and not each.deleted and known.changed_at == each.changed_at
    if run_id is None:
        return bool(ended and each.changed_at is not None)
    return bool(ended and known.seen_run == run_id)
