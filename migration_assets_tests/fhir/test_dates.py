"""Dates: no precision gained, none lost, and nothing that could mean two things."""

from datetime import UTC, datetime, timedelta
from datetime import date as calendar_date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.errors import Permanent
from migration_assets.fhir.dates import date, date_time, instant
from migration_assets.fhir.primitives import CHECKS
from migration_assets.mapping import Quarantined

BERLIN = "Europe/Berlin"


def _reason(call: object, *args: str | None) -> str:
    with pytest.raises(Quarantined) as error:
        call(*args)  # type: ignore[operator] # any of the three functions
    assert error.value.field == "when"
    return error.value.reason


@given(st.dates(), st.sampled_from([4, 7, 10]))
def test_a_date_keeps_its_precision(day: calendar_date, length: int) -> None:
    text = day.isoformat()[:length]
    assert date(text, "when") == text
    assert date_time(text, "when") == text


@given(st.text(max_size=12))
def test_any_text_is_a_valid_date_or_is_quarantined(text: str) -> None:
    """Never a crash, and never a date that validation would refuse afterwards."""
    for call, kind in ((date, "date"), (date_time, "dateTime"), (instant, "instant")):
        try:
            made = call(text, "when")
        except Quarantined:
            continue
        assert made is None if text == "" else CHECKS[kind](made) is None


@given(
    st.from_regex(
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", fullmatch=True
    )
)
def test_any_time_is_a_valid_time_or_is_quarantined(text: str) -> None:
    try:
        made = instant(text, "when", BERLIN)
    except Quarantined:
        return
    assert CHECKS["instant"](made) is None


@pytest.mark.parametrize("absent", [None, ""])
def test_an_absent_date_stays_absent(absent: str | None) -> None:
    assert date(absent, "when") is None
    assert date_time(absent, "when") is None
    assert instant(absent, "when") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1980-02-30", "impossible-date"),
        ("1900-02-29", "impossible-date"),
        ("0000-00-00", "impossible-date"),
        ("1980-00", "impossible-date"),
        ("1980-13-01", "impossible-date"),
        ("0000", "impossible-date"),
        ("07/15/1980", "unreadable-date"),
        ("15.07.1980", "unreadable-date"),
        ("1980-1-2", "unreadable-date"),
        ("19800715", "unreadable-date"),
        ("1980-07-15T00:00:00Z", "unreadable-date"),
        (" 1980", "unreadable-date"),
        ("١٩٨٠", "unreadable-date"),
        ("unknown", "unreadable-date"),
    ],
)
def test_what_is_no_date_is_quarantined(text: str, reason: str) -> None:
    """The server stores 1980-02-30 without a word (contract §10)."""
    assert _reason(date, text, "when") == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-06-15T09:00:00Z", "2023-06-15T09:00:00Z"),
        ("2023-06-15 09:00:00+02:00", "2023-06-15T09:00:00+02:00"),
        ("2023-06-15T09:00:00.123-0530", "2023-06-15T09:00:00.123-05:30"),
        ("2023-06-15T09:00+02", "2023-06-15T09:00:00+02:00"),
        ("2023-06-15T09:00:00.123456789Z", "2023-06-15T09:00:00.123456789Z"),
        ("2023-06-15T23:59:59+14:00", "2023-06-15T23:59:59+14:00"),
    ],
)
def test_iso_times_are_written_as_fhir_wants_them(text: str, expected: str) -> None:
    assert date_time(text, "when") == expected
    assert instant(text, "when") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2023-02-30T09:00:00Z", "impossible-date"),
        ("2023-06-15T24:00:00Z", "impossible-time"),
        ("2023-06-15T09:60:00Z", "impossible-time"),
        ("2023-06-15T09:00:60Z", "impossible-time"),
        ("2023-06-15T09:00:00+14:01", "impossible-time"),
        ("2023-06-15T09:00:00+05:60", "impossible-time"),
        ("2023-06-15T09Z", "unreadable-time"),
        ("2023-06-15T09:00:00 CEST", "unreadable-time"),
        ("2023-06-15T09:00:00.1234567890Z", "unreadable-time"),
        ("Jun 15 2023 09:00", "unreadable-time"),
        ("2023-06T09:00:00Z", "unreadable-time"),
    ],
)
def test_what_is_no_time_is_quarantined(text: str, reason: str) -> None:
    assert _reason(date_time, text, "when") == reason


def test_a_time_without_a_zone_is_quarantined_unless_the_source_declares_one() -> None:
    """Medplum would store it, and every reader take it for his own (contract §10)."""
    text = "2023-06-15T09:00:00"
    assert _reason(date_time, text, "when") == "zone-less-time"
    assert date_time(text, "when", BERLIN) == "2023-06-15T09:00:00+02:00"
    assert date_time("2023-01-15T09:00:00", "when", BERLIN) == "2023-01-15T09:00:00+01:00"
    assert date_time(text, "when", "America/St_Johns") == "2023-06-15T09:00:00-02:30"
    assert date_time(text, "when", "UTC") == "2023-06-15T09:00:00Z"


def test_a_zone_in_the_text_wins_over_the_declared_one() -> None:
    assert date_time("2023-06-15T09:00:00Z", "when", BERLIN) == "2023-06-15T09:00:00Z"


def test_an_hour_that_comes_twice_is_not_guessed() -> None:
    assert _reason(date_time, "2023-10-29T02:30:00", "when", BERLIN) == "ambiguous-time"


def test_an_hour_that_never_was_is_not_moved() -> None:
    assert _reason(date_time, "2023-03-26T02:30:00", "when", BERLIN) == "nonexistent-time"


def test_a_time_before_there_were_zones_has_no_fhir_offset() -> None:
    assert _reason(date_time, "1890-01-01T12:00:00", "when", BERLIN) == "unreadable-time"


@given(
    st.datetimes(datetime.fromisoformat("1950-01-01"), datetime.fromisoformat("2100-01-01")),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_a_local_time_names_the_same_wall_clock_with_one_offset(wall: datetime, zone: str) -> None:
    wall = wall.replace(microsecond=0)
    try:
        made = date_time(wall.isoformat(), "when", zone)
    except Quarantined as error:
        assert error.reason in {"ambiguous-time", "nonexistent-time"}  # noqa: PT017 - either may come
        return
    read = datetime.fromisoformat(str(made))
    assert read.replace(tzinfo=None) == wall
    assert abs(read - wall.replace(tzinfo=UTC)) <= timedelta(hours=14)


def test_a_zone_nobody_knows_is_the_settings_fault_not_the_rows() -> None:
    for name in ("Europe/Atlantis", "../etc/passwd", ""):
        with pytest.raises(Permanent, match="SOURCE_ZONE"):
            date_time("2023-06-15T09:00:00", "when", name)


def test_an_instant_needs_a_time() -> None:
    assert _reason(instant, "2023-06-15", "when") == "time-missing"
