"""No more requests than a limit allows, whatever the order of waits; and no wait for nothing."""

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
    assert budget.waited == sum(time.slept)


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
