"""How a stream says when a row changed, and how it is asked for changes.

Belongs here: what a description may say, and the rules that can be checked before a single
request. Does not belong here: reading or writing the times (``legacy.timestamps``).
"""

import datetime as dt
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field, field_validator, model_validator

from migration_assets.legacy.description.shape import Described, Dotted, ParameterName

DAY = 86_400
_HOUR = 3_600
_CENTURY = 36_525 * DAY
_NAMED_FORMATS = ("iso", "epoch_s", "epoch_ms")


class Cursor(Described):
    """The change time of a stream's rows.

    ``format`` is ``iso``, ``epoch_s``, ``epoch_ms`` or a strptime pattern. ``tz`` is the zone of
    values that carry none; without it such a value is unreadable. ``precision_seconds`` is the
    tick of the API's filter or of the times it shows, whichever is coarser: bounds are floored and
    ceiled to it (86400: days, and only then is a value without a time of day read).

    ``param`` and ``until_param`` take ``send`` and ``until_send`` with ``{value}`` replaced;
    without ``param`` everything is read and the window is cut on our side alone. ``inclusive``
    tells whether the lower filter is ``>=``; if not, a tick is subtracted. ``until_inclusive``
    records what the upper filter does: the bound is sent ceiled and rows are filtered again here,
    so that a wrong value loses nothing.

    ``lookback_seconds`` is how far before the high-water mark an incremental pull starts; the
    caller of the puller subtracts it.

    ``on_null`` is what becomes of a row without a change time: it is marked for quarantine, or
    kept as a row of every window. One whose time is there but unreadable is always marked.

    ``cap`` is the most rows the API answers to one question, however it is paged: as many as that
    count as cut off, and the window is read in halves. ``max_window_seconds`` is the longest window
    it takes. ``earliest`` is when its records begin: where a window without a beginning is cut.
    """

    field: Dotted
    format: str = "iso"
    tz: str | None = None
    precision_seconds: Annotated[float, Field(ge=1e-6, le=_CENTURY)] = 1
    param: ParameterName | None = None
    send: str = "{value}"
    send_format: str | None = None
    inclusive: bool = True
    until_param: ParameterName | None = None
    until_send: str = "{value}"
    until_inclusive: bool = False
    lookback_seconds: Annotated[float, Field(ge=0, le=_CENTURY)] = 300
    on_null: Literal["mark", "keep"] = "mark"
    cap: Annotated[int, Field(ge=1)] | None = None
    max_window_seconds: Annotated[float, Field(gt=0, le=_CENTURY)] | None = None
    earliest: AwareDatetime | None = None

    @field_validator("format", "send_format")
    @classmethod
    def _format_is_known(cls, value: str | None) -> str | None:
        if value is not None and value not in _NAMED_FORMATS and "%" not in value:
            raise ValueError("should be iso, epoch_s, epoch_ms or a strptime pattern with %")
        return value

    @field_validator("tz")
    @classmethod
    def _zone_exists(cls, value: str | None) -> str | None:
        try:
            _ = ZoneInfo(value) if value is not None else None
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            raise ValueError("should be an IANA zone such as America/New_York") from None
        return value

    @field_validator("send", "until_send")
    @classmethod
    def _template_takes_a_value(cls, value: str) -> str:
        if value.count("{value}") != 1:
            raise ValueError("should hold {value} exactly once")
        return value

    @model_validator(mode="after")
    def _nothing_is_lost_by_design(self) -> Self:
        if self.reads_zoneless and self.tz is None:
            raise ValueError("this format carries no zone: say which one the values mean with tz")
        if self.until_param is not None and self.param is None:
            raise ValueError("until_param without param: a stream is not filtered from above alone")
        if self.precision_seconds >= DAY and self.lookback_seconds < DAY:
            raise ValueError(
                "with days as precision lookback_seconds must be at least 86400: "
                "rows changed later on the day of the last pull would be lost"
            )
        if self.tz is not None and self.lookback_seconds < _HOUR and _shifts(ZoneInfo(self.tz)):
            raise ValueError(
                "tz changes its clocks, so lookback_seconds must be at least 3600: "
                "rows of the repeated hour would be lost"
            )
        return self

    @model_validator(mode="after")
    def _windows_can_be_cut(self) -> Self:
        if self.cap is None and self.max_window_seconds is None:
            return self
        if self.until_param is None or self.earliest is None:
            raise ValueError(
                "cap and max_window_seconds need until_param and earliest: "
                "a window without a known end could not be cut, and what is cut off would be lost"
            )
        if (self.max_window_seconds or DAY) < self.precision_seconds:
            raise ValueError("max_window_seconds is shorter than precision_seconds")
        return self

    @property
    def reads_zoneless(self) -> bool:
        """True if no value of this format can carry a zone."""
        return self.format not in _NAMED_FORMATS and "%z" not in self.format

    @property
    def repeats_an_hour(self) -> bool:
        """True if a value without a zone may mean either of two instants once a year."""
        return self.tz is not None and _shifts(ZoneInfo(self.tz))


def _shifts(zone: ZoneInfo) -> bool:
    """True if the zone's offset changes within the year (2024 stands for any)."""
    months = (dt.datetime(2024, month, 1, tzinfo=zone) for month in range(1, 13))
    return len({moment.utcoffset() for moment in months}) > 1
