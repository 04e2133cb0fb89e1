"""How a stream says when what a row records took place: the visit's day, not the row's change.

Belongs here: what a description may say, and the dates of rows. Does not belong here: the change
time (``change_time``), by which everything else is pulled.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, Self, TypeAlias

from pydantic import field_validator, model_validator

from migration_assets.legacy.description.shape import Described, Dotted, ParameterName

_ISO_DAY = len("2023-05-17")

DateOf: TypeAlias = Callable[[Any], dt.date | None]


class RecordDate(Described):
    """The clinical date of a stream's rows, for «the encounters of 2023».

    ``field`` leads to the date. ``format`` is ``iso`` (the day is taken as it is written, whatever
    zone follows) or a strptime pattern. ``param`` and ``until_param`` are the API's own filter by
    it, if it has one; they take ``send`` and ``until_send`` with ``{value}`` replaced by a date
    (2023-01-31). The end of a range is sent as its first day outside, and rows are looked at again
    here: an API that includes that day loses nothing. Without ``param`` a range is cut out of the
    rows that landed.
    """

    field: Dotted
    format: str = "iso"
    param: ParameterName | None = None
    send: str = "{value}"
    until_param: ParameterName | None = None
    until_send: str = "{value}"

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, value: str) -> str:
        if value != "iso" and "%" not in value:
            raise ValueError("should be iso or a strptime pattern with %")
        return value

    @field_validator("send", "until_send")
    @classmethod
    def _template_takes_a_value(cls, value: str) -> str:
        if value.count("{value}") != 1:
            raise ValueError("should hold {value} exactly once")
        return value

    @model_validator(mode="after")
    def _filters_from_below_at_least(self) -> Self:
        if self.until_param is not None and self.param is None:
            raise ValueError("until_param without param: a stream is not filtered from above alone")
        return self

    def date_reader(self) -> DateOf:
        """A function from a field's value to its date, or None if it cannot be read."""
        return _iso_day if self.format == "iso" else _by_pattern(self.format)

    def asking(self, since: dt.date | None, until: dt.date | None) -> dict[str, tuple[str, ...]]:
        """The parameters that ask the API for [since, until)."""
        asked: dict[str, tuple[str, ...]] = {}
        if self.param is not None and since is not None:
            asked[self.param] = (self.send.replace("{value}", since.isoformat()),)
        if self.until_param is not None and until is not None:
            value = self.until_send.replace("{value}", until.isoformat())
            # One parameter may carry both bounds, each with its own prefix (FHIR's ge, lt).
            asked[self.until_param] = (*asked.get(self.until_param, ()), value)
        return asked


def _iso_day(value: Any) -> dt.date | None:
    if not isinstance(value, str):
        return None
    try:
        return dt.date.fromisoformat(value[:_ISO_DAY]) if value[4:5] == "-" else None
    except ValueError:
        return None


def _by_pattern(pattern: str) -> DateOf:
    def read(value: Any) -> dt.date | None:
        if not isinstance(value, str):
            return None
        try:
            return dt.datetime.strptime(value, pattern).date()  # noqa: DTZ007  a day has no zone
        except (ValueError, OverflowError):
            return None

    return read
