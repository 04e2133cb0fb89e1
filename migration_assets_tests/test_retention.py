"""What MIGRATION_RETENTION may say, and what it means at a moment."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.errors import Permanent
from migration_assets.retention import read_policy
from migration_assets.settings import read_settings

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "patients", "others"),
    [
        ("forever", None, None),
        ("until_migrated", NOW, NOW),
        ("90 days", NOW - timedelta(days=90), NOW - timedelta(days=90)),
        ("1d", NOW - timedelta(days=1), NOW - timedelta(days=1)),
        ("forever; patients: until_migrated", NOW, None),
        ("until_migrated; patients: forever", None, NOW),
        ("30 days;patients:7 days", NOW - timedelta(days=7), NOW - timedelta(days=30)),
    ],
)
def test_the_terms_of_a_stream_win_over_those_of_all(
    text: str, patients: datetime | None, others: datetime | None
) -> None:
    policy = read_policy(text)
    assert policy.settled_before("patients", NOW) == patients
    assert policy.settled_before("observations", NOW) == others


@pytest.mark.parametrize(
    "text", ["", "never", "90", "-1 days", "patients: 3 days", "forever; 3 days", "forever;: 1 day"]
)
def test_what_is_no_policy_is_refused_and_never_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Taken for 0 days, a slip of the pen would drop every row."""
    with pytest.raises(ValueError, match="until_migrated"):
        read_policy(text)
    if text:
        monkeypatch.setenv("MIGRATION_RETENTION", text)
        with pytest.raises(Permanent, match="MIGRATION_RETENTION"):
            read_settings()


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_policy_or_an_error(text: str) -> None:
    try:
        policy = read_policy(text)
    except ValueError:
        return
    before = policy.settled_before("patients", NOW)
    assert before is None or before <= NOW
