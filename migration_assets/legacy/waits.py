"""How long to wait before trying again.

Belongs here: reading what a server asks for, and the back-off when it asks for nothing. Does not
belong here: whether to try again (``transport``).
"""

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from migration_assets.legacy.description import Http

_SECONDS = re.compile(r"\d{1,10}(\.\d+)?")
_SMALLEST_EPOCH = 100_000_000  # 1973; a smaller number in a reset header is a number of seconds


def header_date(value: str | None) -> dt.datetime | None:
    """An HTTP date in UTC, or None if it is absent or unreadable."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def asked_wait(headers: Mapping[str, str], http: Http, now: float) -> float | None:
    """Seconds the server asks us to wait (RFC 9110 §10.2.3, or the reset header), or None.

    Dates are compared with the server's own ``Date``, so that a wrong clock here does not matter.
    """
    date = header_date(headers.get("Date"))
    server_now = date.timestamp() if date else now
    asked = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(asked):
        return float(asked)
    if moment := header_date(asked):
        return max(0.0, moment.timestamp() - server_now)
    reset = headers.get(http.reset_header, "").strip() if http.reset_header else ""
    if _SECONDS.fullmatch(reset):
        value = float(reset)
        return max(0.0, value - server_now) if value > _SMALLEST_EPOCH else value
    return None


def wait_before(attempt: int, asked: float | None, http: Http) -> float:
    """Seconds before the attempt after ``attempt`` (from 1): what was asked, but never a rush."""
    own = min(http.max_backoff, http.backoff * 2.0 ** (attempt - 1))
    return own if asked is None else max(asked, own)
