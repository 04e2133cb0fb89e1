"""No more requests than a limit allows, whatever the order of waits; and no wait for nothing."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.legacy.budgets import Budget
from migration_assets.legacy.description import Limit
from migration_assets_tests.legacy.conftest import VirtualTime

limits = st.builds(
    Limit,
    requests=st.integers(1, 4),
    per_seconds=st.sampled_from([1, 7, 60]),
    clock_aligned=st.booleans(),
)


@given(st.lists(limits, max_size=3), st.lists(st.floats(0, 30), min_size=1, max_size=25))
def test_no_span_holds_more_requests_than_its_limit(
    described: list[Limit], pauses: list[float]
) -> None:
    time = VirtualTime()
    budget = Budget(described, clock=time.clock, sleep=time.sleep)
    made: list[float] = []
    for pause in pauses:
        time.now += pause
        budget.take()
        made.append(time.now)
    for limit in described:
        span = limit.per_seconds
        for at in made:
            begin = at // span * span if limit.clock_aligned else at
            inside = [one for one in made if begin <= one < begin + span]
            assert len(inside) <= limit.requests


def test_a_quota_that_starts_anew_on_the_clock_waits_only_for_the_clock() -> None:
    time = VirtualTime(now=3600.0 * 1000 + 3599)
    hour = Limit(requests=1, per_seconds=3600, clock_aligned=True)
    budget = Budget([hour], clock=time.clock, sleep=time.sleep)
    budget.take()
    budget.take()
    assert round(sum(time.slept), 1) == 1.0


def test_without_limits_nothing_waits() -> None:
    time = VirtualTime()
    Budget([], clock=time.clock, sleep=time.sleep).take()
    assert time.slept == []


def made_in(seconds: float, begin: str) -> int:
    """Requests a source of office hours allows in a span from a moment on (Denver's clock)."""
    moment = dt.datetime.fromisoformat(begin).replace(tzinfo=ZoneInfo("America/Denver"))
    time = VirtualTime(now=moment.timestamp())
    office: dict[str, Any] = {"hours": (6, 18), "tz": "America/Denver", "workdays": True}
    limits = [
        Limit(requests=1, per_seconds=60, **office),
        Limit(requests=60, per_seconds=60, elsewhen=True, **office),
    ]
    budget, end, made = Budget(limits, clock=time.clock, sleep=time.sleep), time.now + seconds, 0
    while True:
        budget.take()
        if time.now >= end:
            return made
        made += 1


def test_a_limit_may_depend_on_the_local_hour() -> None:
    """AdvancedMD: one a minute in office hours, and every further one is billed."""
    assert made_in(600, "2024-06-05T09:00") == 10
    assert made_in(600, "2024-06-05T19:00") == 600
    assert made_in(600, "2024-06-08T09:00") == 600  # a Saturday
    assert made_in(120, "2024-06-05T05:59") == 60 + 1


@pytest.mark.parametrize(
    "limit", [{"hours": (6, 18)}, {"hours": (18, 6), "tz": "UTC"}, {"workdays": True}]
)
def test_hours_that_cannot_be_meant_are_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="hours"):
        Limit(requests=1, per_seconds=1, **limit)
