"""Until when everything a stream had to show is known to be on account.

Belongs here: noting and reading that moment. Does not belong here: the high-water mark, which a
quiet source leaves where it is: a mark of last week is as good as new where the source was asked a
minute ago and had nothing (and a mark of an hour ago is not, where nobody asks any more).

How late it ever was is kept by the day: the longest time between two such moments. A minute or less
is not written down, so that a sensor's look every 5 s costs nothing more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from migration_assets.manifest import Manifest
from migration_assets.manifest.records import from_micros, to_micros

_UNREMARKABLE = timedelta(seconds=60)
_KEPT = timedelta(days=400)


@dataclass(frozen=True)
class Lateness:
    """The longest time for which a stream was not known to be current, watched since ``since``."""

    since: datetime
    worst: timedelta


def note_current(manifest: Manifest, stream: str, until: datetime) -> None:
    """The source was asked for all news at ``until``, by its own clock, and all are on account."""
    with manifest.ledger(_name(stream)) as page:
        moment = to_micros(until)
        before = None if page.text is None else from_micros(int(page.text))
        if before is None or before < until:
            page.write(str(moment))
    if before is None or until - before > _UNREMARKABLE:
        _note_late(manifest, stream, before, until)


def current_until(manifest: Manifest, stream: str) -> datetime | None:
    """Until when nothing of a stream is missing; None where its news were never asked for."""
    with manifest.ledger(_name(stream)) as page:
        return None if page.text is None else from_micros(int(page.text))


def lateness(manifest: Manifest, stream: str, since: datetime) -> Lateness | None:
    """How late a stream was at worst from the day of ``since`` on; None if nobody ever asked."""
    with manifest.ledger(_late_name(stream)) as page:
        if page.text is None:
            return None
        kept = orjson.loads(page.text)
    first = since.date().isoformat()
    worst = max((each for day, each in kept["worst"].items() if day >= first), default=0)
    return Lateness(datetime.fromisoformat(kept["since"]), timedelta(seconds=worst))


def _note_late(manifest: Manifest, stream: str, before: datetime | None, until: datetime) -> None:
    with manifest.ledger(_late_name(stream)) as page:
        begun: dict[str, Any] = {"since": (before or until).isoformat(), "worst": {}}
        kept = begun if page.text is None else orjson.loads(page.text)
        if before is not None:
            day, late = until.date().isoformat(), int((until - before).total_seconds())
            kept["worst"][day] = max(late, kept["worst"].get(day, 0))
        oldest = (until.date() - _KEPT).isoformat()
        kept["worst"] = {day: each for day, each in kept["worst"].items() if day >= oldest}
        page.write(orjson.dumps(kept).decode())


def _name(stream: str) -> str:
    return f"current {stream}"


def _late_name(stream: str) -> str:
    return f"current {stream}, how late"
