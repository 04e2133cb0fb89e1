"""Retention: how long landed rows are kept once their outcome is proved.

Belongs here: reading the setting, and what it says of a stream at a moment. Pure. Does not belong
here: which units are final, or dropping anything (``purging``).

``forever`` keeps them; ``until_migrated`` lets them go as soon as their outcome is final; ``90
days`` so long after it. Streams may differ: ``forever; observations: 30 days``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_DAYS = re.compile(r"([0-9]{1,5}) ?d(ays?)?")
_ASKED = "use forever, until_migrated or N days, and for a stream of its own: '; patients: 30 days'"


@dataclass(frozen=True)
class Policy:
    """How long rows are kept after their outcome; None is forever."""

    default: timedelta | None = None
    by_stream: Mapping[str, timedelta | None] = field(default_factory=dict)

    def settled_before(self, stream: str, now: datetime) -> datetime | None:
        """Rows of ``stream`` settled until then may go; None: none may."""
        kept = self.by_stream.get(stream, self.default)
        return None if kept is None else now - kept

    def told(self, stream: str) -> str:
        """The terms of a stream, as they are set."""
        kept = self.by_stream.get(stream, self.default)
        if kept is None:
            return "forever"
        return f"{kept.days} days" if kept else "until_migrated"

    @property
    def is_forever(self) -> bool:
        """Whether nothing is ever dropped."""
        return self.default is None and all(each is None for each in self.by_stream.values())


def read_policy(text: str) -> Policy:
    """The policy that ``MIGRATION_RETENTION`` names.

    Raises:
        ValueError: it names none; says what may be written.
    """
    default: timedelta | None = None
    by_stream: dict[str, timedelta | None] = {}
    for place, part in enumerate(text.split(";")):
        stream, colon, terms = part.rpartition(":")
        if bool(colon) == (place == 0) or (colon and not stream.strip()):
            raise ValueError(_ASKED)
        if colon:
            by_stream[stream.strip()] = _kept(terms.strip())
        else:
            default = _kept(terms.strip())
    return Policy(default, by_stream)


def _kept(terms: str) -> timedelta | None:
    if terms == "forever":
        return None
    if terms == "until_migrated":
        return timedelta(0)
    days = _DAYS.fullmatch(terms)
    if days is None:
        raise ValueError(_ASKED)
    return timedelta(days=int(days[1]))
