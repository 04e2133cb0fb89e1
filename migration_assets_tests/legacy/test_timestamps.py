"""Times are read strictly or not at all, and bounds are widened, never narrowed."""

import datetime as dt
from typing import Any

import pytest

from migration_assets.legacy.description import Cursor
from migration_assets.legacy.timestamps import lower_bound, time_reader, upper_bound

UTC = dt.UTC
NEW_YEAR = dt.datetime(2024, 1, 1, tzinfo=UTC)
DAYS: dict[str, Any] = {"precision_seconds": 86400, "lookback_seconds": 86400}
US: dict[str, Any] = {
    "format": "%m/%d/%Y %H:%M",
    "tz": "America/New_York",
    "precision_seconds": 60,
    "lookback_seconds": 3600,
}


def cursor(**changes: Any) -> Cursor:
    return Cursor(field="changed", **changes)


@pytest.mark.parametrize(
    ("changes", "value", "instant"),
    [
        ({}, "2024-01-01T00:00:00Z", NEW_YEAR),
        ({}, "2024-01-01 00:00:00.000+00:00", NEW_YEAR),
        ({}, "2024-01-01T05:30:00+0530", NEW_YEAR),
        ({}, "2024-01-01T00:00Z", NEW_YEAR),
        ({}, "2024-01-01T00:00:00.0000004Z", NEW_YEAR),
        ({"tz": "UTC"}, "2024-01-01T00:00:00", NEW_YEAR),
        ({"tz": "Asia/Kolkata"}, "2024-01-01T05:30:00", NEW_YEAR),
        ({"tz": "UTC", **DAYS}, "2024-01-01", NEW_YEAR),
        ({"format": "epoch_s"}, 1704067200, NEW_YEAR),
        ({"format": "epoch_s"}, "1704067200", NEW_YEAR),
        ({"format": "epoch_s"}, 1704067200.5, NEW_YEAR + dt.timedelta(seconds=0.5)),
        ({"format": "epoch_ms"}, 1704067200001, NEW_YEAR + dt.timedelta(milliseconds=1)),
        (US, "12/31/2023 19:00", NEW_YEAR),
        ({"format": "%d.%m.%Y %H:%M %z"}, "01.01.2024 01:00 +0100", NEW_YEAR),
        (US, "11/03/2024 01:30", dt.datetime(2024, 11, 3, 5, 30, tzinfo=UTC)),
    ],
)
def test_a_time_in_the_declared_format_is_read(
    changes: dict[str, Any], value: Any, instant: dt.datetime
) -> None:
    assert time_reader(cursor(**changes))(value) == instant


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, "2024-01-01"),
        ({}, "2024-01-01T00:00:00"),
        ({}, "20240101T000000Z"),
        ({}, "2024-W01-1T00:00:00Z"),
        ({}, "2024-13-01T00:00:00Z"),
        ({}, "0001-01-01T00:00:00+14:00"),
        ({}, ""),
        ({}, "yesterday at about noon"),
        ({}, 1704067200),
        ({}, None),
        ({}, object()),
        (DAYS, "2024-01-01"),
        ({"format": "epoch_s"}, True),
        ({"format": "epoch_s"}, "2024-01-01T00:00:00Z"),
        ({"format": "epoch_s"}, float("nan")),
        ({"format": "epoch_s"}, 10**40),
        ({"format": "epoch_ms"}, None),
        (US, "31/12/2023 19:00"),
        (US, None),
    ],
)
def test_any_other_value_is_not_guessed_at(changes: dict[str, Any], value: Any) -> None:
    assert time_reader(cursor(**changes))(value) is None


AT = dt.datetime(2024, 3, 5, 10, 20, 30, 456_789, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "lower", "upper"),
    [
        ({}, "2024-03-05T10:20:30Z", "2024-03-05T10:20:31Z"),
        ({"precision_seconds": 0.001}, "2024-03-05T10:20:30.456Z", "2024-03-05T10:20:30.457Z"),
        (
            {"precision_seconds": 1e-6},
            "2024-03-05T10:20:30.456789Z",
            "2024-03-05T10:20:30.456789Z",
        ),
        ({"inclusive": False}, "2024-03-05T10:20:29Z", "2024-03-05T10:20:31Z"),
        ({"format": "epoch_s"}, "1709634030", "1709634031"),
        ({"format": "epoch_s", "precision_seconds": 0.001}, "1709634030", "1709634031"),
        ({"format": "epoch_ms", "precision_seconds": 0.001}, "1709634030456", "1709634030457"),
        (US, "03/05/2024 05:20", "03/05/2024 05:21"),
        ({**DAYS, "tz": "Asia/Kolkata"}, "2024-03-05", "2024-03-06"),
        ({"send_format": "%Y-%m-%dT%H:%M:%S%z"}, "2024-03-05T10:20:30+0000", None),
        ({"send_format": "%Y-%m-%d %H"}, "2024-03-05 10", "2024-03-05 11"),
    ],
)
def test_bounds_are_floored_and_ceiled_to_the_tick(
    changes: dict[str, Any], lower: str, upper: str | None
) -> None:
    assert lower_bound(cursor(**changes), AT) == lower
    assert upper is None or upper_bound(cursor(**changes), AT) == upper


def test_an_exclusive_bound_at_the_epoch_is_not_negative() -> None:
    """Kinto answers 400 to -1."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=UTC)
    assert lower_bound(cursor(format="epoch_ms", inclusive=False), epoch) == "0"


def test_a_bound_in_the_repeated_hour_is_sent_so_that_either_reading_is_wide_enough() -> None:
    first = dt.datetime(2024, 11, 3, 5, 30, tzinfo=UTC)  # 01:30 for the first time
    second = first + dt.timedelta(hours=1)
    assert lower_bound(cursor(**US), first) == "11/03/2024 00:30"
    assert lower_bound(cursor(**US), second) == "11/03/2024 01:30"
    assert upper_bound(cursor(**US), second) == "11/03/2024 02:30"


def test_a_row_of_the_second_half_past_one_is_not_cut_off_with_the_first() -> None:
    """It is read as the first, so it must come with the first one's window."""
    first = dt.datetime(2024, 11, 3, 5, 45, tzinfo=UTC)
    sent = dt.datetime.strptime(upper_bound(cursor(**US), first), US["format"])  # noqa: DTZ007  New York's wall
    assert sent >= dt.datetime(2024, 11, 3, 2, 0)  # noqa: DTZ001  as above
