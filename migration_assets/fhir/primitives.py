"""What a FHIR primitive may look like in JSON, as strictly as Medplum or FHIR wants it.

Belongs here: one check per primitive type, which answers with a reason or None. Does not belong
here: which element has which type (``structure``) or converting legacy values (``dates``,
``elements``). The patterns are those of the server (contract §10), narrowed where it lets through
what FHIR forbids: impossible dates, times without a zone, inexact numbers, lone surrogates.
"""

import math
import re
from collections.abc import Callable
from datetime import date
from typing import Any, Final, TypeAlias

Check: TypeAlias = Callable[[Any], str | None]
"""Takes a JSON value; returns a kebab-case reason, or None when there is nothing to object."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_DATE: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_TIME: Final = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))"
_TIME_OF_DAY: Final = re.compile(_TIME, re.ASCII)
_ZONED: Final = re.compile(_TIME + _ZONE, re.ASCII)
_CODE: Final = re.compile(r"\S+( \S+)*")
_URI: Final = re.compile(r"[^\s\ufeff]+")
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_OID: Final = re.compile(r"urn:oid:[0-2](\.(0|[1-9]\d*))+", re.ASCII)
_UUID: Final = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BASE64: Final = re.compile(r"([A-Za-z\d+/]{4})*([A-Za-z\d+/]{2}==|[A-Za-z\d+/]{3}=)?", re.ASCII)
_MAX_INTEGER: Final = 2**31 - 1


def text(value: Any) -> str | None:
    """string, markdown, xhtml: some non-blank text without control characters."""
    if type(value) is not str:
        return _not_json(value)
    if value.isprintable():  # almost all text is, and is told so at C speed
        if value and not value.isspace():
            return None
        return "blank-string" if value else "empty-string"
    if _CONTROL.search(value):
        return "control-character"
    if _SURROGATE.search(value):
        return "lone-surrogate"
    # The byte order mark is blank to JavaScript only, the next-line sign to Python and the models.
    return None if value.replace("\ufeff", "").strip() else "blank-string"


def boolean(value: Any) -> str | None:
    """JSON true or false."""
    return None if type(value) is bool else _not_json(value)


def decimal(value: Any) -> str | None:
    """A finite number that survives as a double, which is what Medplum makes of it."""
    if type(value) is float:
        return None if math.isfinite(value) else "not-finite"
    if type(value) is int:
        return None if abs(value) <= 2**53 else "number-inexact"
    return _not_json(value)


def code_of(allowed: frozenset[str]) -> Check:
    """A code with a required binding: one of ``allowed``."""

    def bound(value: Any) -> str | None:
        if type(value) is not str:
            return _not_json(value)
        return None if value in allowed else code(value) or "unknown-code"

    return bound


def full_date(value: Any) -> str | None:
    """date: YYYY, YYYY-MM or YYYY-MM-DD, and a day that the calendar has."""
    if type(value) is not str:
        return _not_json(value)
    form = _DATE.fullmatch(value)
    if form is None:
        return "invalid-date"
    try:
        date(int(form[1]), int(form[2] or 1), int(form[3] or 1))
    except ValueError:
        return "impossible-date"
    return None


def date_time(value: Any) -> str | None:
    """dateTime: a date, or a date with a time to the second and its zone."""
    if type(value) is not str:
        return _not_json(value)
    day, separator, time = value.partition("T")
    if not separator:
        return full_date(value)
    if len(day) != len("YYYY-MM-DD"):
        return "invalid-date-time"
    if not _ZONED.fullmatch(time):
        return "zone-less-time" if _TIME_OF_DAY.fullmatch(time) else "invalid-date-time"
    return full_date(day)


def instant(value: Any) -> str | None:
    """instant: always to the second, always with a zone."""
    if type(value) is str and "T" not in value:
        return "invalid-instant"
    return date_time(value)


def _matching(pattern: re.Pattern[str], reason: str) -> Check:
    def matching(value: Any) -> str | None:
        if type(value) is not str:
            return _not_json(value)
        if pattern.fullmatch(value):
            # The common patterns are made of visible characters; surrogates count among them.
            return None if value.isprintable() else text(value)
        return text(value) or reason

    return matching


def _whole(smallest: int) -> Check:
    def whole(value: Any) -> str | None:
        if type(value) is not int:
            return _not_json(value)
        return None if smallest <= value <= _MAX_INTEGER else "number-out-of-range"

    return whole


def _not_json(value: Any) -> str:
    return "null" if value is None else "wrong-json-type"


code: Final = _matching(_CODE, "invalid-code")

CHECKS: Final[dict[str, Check]] = {
    "base64Binary": _matching(_BASE64, "invalid-base64"),
    "boolean": boolean,
    "canonical": _matching(_URI, "invalid-uri"),
    "code": code,
    "date": full_date,
    "dateTime": date_time,
    "decimal": decimal,
    "id": _matching(_ID, "invalid-id"),
    "instant": instant,
    "integer": _whole(-(2**31)),
    "markdown": text,
    "oid": _matching(_OID, "invalid-uri"),
    "positiveInt": _whole(1),
    "string": text,
    "time": _matching(_TIME_OF_DAY, "invalid-time"),
    "unsignedInt": _whole(0),
    "uri": _matching(_URI, "invalid-uri"),
    "url": _matching(_URI, "invalid-uri"),
    "uuid": _matching(_UUID, "invalid-uri"),
    "xhtml": text,
}
"""The check of each FHIR primitive type."""
