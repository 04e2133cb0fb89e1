"""Until when everything a stream had to show is known to be on account.

Belongs here: noting and reading that moment. Does not belong here: the high-water mark, which a
quiet source leaves where it is: a mark of last week is as good as new where the source was asked a
minute ago and had nothing (and a mark of an hour ago is not, where nobody asks any more).
"""

from datetime import datetime

from migration_assets.manifest import Manifest
from migration_assets.manifest.records import from_micros, to_micros


def note_current(manifest: Manifest, stream: str, until: datetime) -> None:
    """The source was asked for all news at ``until``, by its own clock, and all are on account."""
    with manifest.ledger(_name(stream)) as page:
        moment = to_micros(until)
        if page.text is None or int(page.text) < moment:
            page.write(str(moment))


def current_until(manifest: Manifest, stream: str) -> datetime | None:
    """Until when nothing of a stream is missing; None where its news were never asked for."""
    with manifest.ledger(_name(stream)) as page:
        return None if page.text is None else from_micros(int(page.text))


def _name(stream: str) -> str:
    return f"current {stream}"
