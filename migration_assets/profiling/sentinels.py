"""Values that stand for "there is none": the declared list, and telling them from real ones.

Belongs here: the list. Does not belong here: what becomes of them; a mapping decides that. Some may
be meant (a zero): those are counted by name, but as values.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

_WORDS: Final = frozenset(
    {
        "n/a", "na", "n.a.", "none", "null", "nil", "nan", "unknown", "unk", "unkn", "undefined",
        "missing", "empty", "blank", "tbd", "tba", "test", "xxx", "not available",
        "not applicable", "not known", "no data", "-", "--", "---", ".", "..", "?", "??", "???",
        "*", "#n/a", "#null!", "(null)", "<null>",
    }
)  # fmt: skip
_DAYS: Final = {
    "9999-12-31", "9999-01-01", "2999-12-31", "2099-12-31", "1900-01-01", "1899-12-30",
    "1899-12-31", "1800-01-01", "1753-01-01", "1601-01-01", "1111-11-11", "1970-01-01",
    "0001-01-01", "0000-00-00",
}  # fmt: skip
"""Least, greatest and zero dates of databases and languages (SQL Server 1753, Excel 1899)."""
_NUMBERS: Final = frozenset({0, -1, 99, 999, 9999, 99999, 999999, -9, -99, -999, -9999})
_NUMERAL: Final = re.compile(r"-?\d{1,6}", re.ASCII)
_REORDERED: Final = re.compile(r"(\d\d)([/.\-])(\d\d)\2(\d{4})(?!\d)", re.ASCII)
_DOUBTFUL: Final = frozenset(
    {
        "na", "none", "unknown", "unk", "unkn", "test", "missing", "empty", "blank", "*", ".", "0",
        "-1", "99", "999", "-9", "-99", "1970-01-01", "2099-12-31", "1800-01-01", "1111-11-11",
    }
)  # fmt: skip
"""What may be meant: NA is sodium, an unknown smoking status an answer, 99 a pulse."""
_LONGEST: Final = 40


@dataclass(frozen=True)
class Sentinel:
    """A value that stands for nothing, by the name the list has for it; ``sure`` if always."""

    name: str

    @property
    def sure(self) -> bool:
        """False for what may be a real value in another field."""
        return self.name not in _DOUBTFUL


def sentinel(value: Any) -> Sentinel | None:
    """The sentinel a value is; None for any other value."""
    name = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        name = str(int(value)) if value in _NUMBERS else None
    elif isinstance(value, str) and len(value) <= _LONGEST:
        name = _worded(value.strip().casefold())
    return None if name is None else Sentinel(name)


def _worded(text: str) -> str | None:
    if text in _WORDS:
        return text
    if _NUMERAL.fullmatch(text):
        return text if int(text) in _NUMBERS and str(int(text)) == text else None
    reordered = _REORDERED.match(text)
    if reordered:  # 12/31/9999 and 31.12.9999 are one day
        first, _, second, year = reordered.groups()
        days = (f"{year}-{first}-{second}", f"{year}-{second}-{first}")
        return next((day for day in days if day in _DAYS), None)
    return text[:10] if text[:10] in _DAYS and not text[10:11].isdigit() else None
