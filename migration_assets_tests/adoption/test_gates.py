"""Exit gates: what was not proved does not pass, and every shut gate says what mends it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.adoption import Phase, Standing, Strategy
from migration_assets.adoption.gates import Bounds, Compared, Discrepancy, Evidence, Lag, gate
from migration_assets.adoption.steps import Step, following, hindrance, step

NOW = datetime(2026, 11, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
AGO = NOW - WEEK - timedelta(hours=1)
CLEAN = Compared(
    resource_type="Patient",
    id=4,
    started_at=NOW - timedelta(hours=1),
    unresolved=0,
    worst_findings=1,
    worst_of=100,
)
LAG = Lag(seconds=5, worst_seconds=3600, watched_since=AGO)
PROVED = Evidence(
    now=NOW,
    since=AGO,
    eligible=100,
    last_write=NOW - timedelta(hours=2),
    comparisons=(CLEAN,),
    discrepancy=Discrepancy(since=AGO, agreed=99, missed=1),
    lag=LAG,
    legacy_edits=0,
)
BOUNDS = Bounds(share=0.01, days=7, lag_seconds=3600)


def _shut(phase: Phase, evidence: Evidence) -> list[str]:
    return [each.said for each in gate(phase, "Patient", evidence, BOUNDS) if not each.holds]


@pytest.mark.parametrize("phase", list(Phase)[:-1])
def test_a_gate_opens_where_everything_is_proved(phase: Phase) -> None:
    assert gate(phase, "Patient", PROVED, BOUNDS)
    assert _shut(phase, PROVED) == []


@pytest.mark.parametrize("phase", list(Phase)[:-1])
def test_where_nothing_was_looked_at_no_gate_is_open(phase: Phase) -> None:
    """No evidence reads like good evidence if nothing is counted as zero."""
    shut = [
        each
        for each in gate(phase, "Patient", Evidence(now=NOW, since=None), BOUNDS)
        if not each.holds
    ]
    assert shut
    assert all(each.mend for each in shut)


@pytest.mark.parametrize(
    ("phase", "worse", "said"),
    [
        (Phase.REHEARSE, {"unexplained": 1}, "1 quarantined"),
        (
            Phase.DUAL_WRITE,
            {"discrepancy": Discrepancy(since=AGO, agreed=98, missed=1, different=1)},
            "2.0%",
        ),
        (Phase.DUAL_WRITE, {"discrepancy": Discrepancy(since=AGO)}, "of 0 rows"),
        (
            Phase.DUAL_WRITE,
            {"discrepancy": Discrepancy(since=AGO, agreed=100, unknown=3)},
            "3 rows were not compared yet",
        ),
        (Phase.BACKFILL, {"pending": 1}, "1 pending"),
        (Phase.BACKFILL, {"balance_holds": False}, "BROKEN"),
        (Phase.BACKFILL, {"unexplained": 2}, "2 quarantined"),
        (Phase.BACKFILL, {"last_write": NOW}, "older than the last write"),
        (Phase.BACKFILL, {"comparisons": (replace(CLEAN, findings=1),)}, "1 finding"),
        (Phase.BACKFILL, {"comparisons": (replace(CLEAN, unresolved=2),)}, "2 about references"),
        (Phase.BACKFILL, {"comparisons": (CLEAN, Compared(resource_type="X"))}, "X was never"),
        (Phase.READ, {"since": NOW - timedelta(days=6)}, "6.0 days in this phase"),
        (Phase.READ, {"lag": replace(LAG, worst_seconds=3601)}, "3,601 s at worst"),
        (Phase.READ, {"lag": replace(LAG, watched_since=NOW)}, "watched since"),
        (Phase.READ, {"comparisons": (replace(CLEAN, worst_findings=2),)}, "drifted by 2"),
        (Phase.READ, {"comparisons": (replace(CLEAN, started_at=NOW - 2 * WEEK),)}, "not compared"),
        (Phase.WRITE, {"legacy_edits": 1}, "1 row edited"),
        (Phase.WRITE, {"since": NOW - timedelta(days=1)}, "1.0 days in this phase"),
    ],
)
def test_one_thing_that_is_not_good_enough_shuts_the_gate_and_is_named(
    phase: Phase, worse: dict[str, object], said: str
) -> None:
    (shut,) = _shut(phase, replace(PROVED, **worse))  # type: ignore[arg-type] # fields by name
    assert said in shut


@given(st.sampled_from(list(Phase)), st.sampled_from(list(Phase)))
def test_every_pair_of_phases_is_one_kind_of_step_and_only_dual_writes_may_be_left_out(
    was: Phase, becomes: Phase
) -> None:
    order = list(Phase)
    far = order.index(becomes) - order.index(was)
    kind = step(was, becomes)
    assert (kind is Step.BACK) == (far < 0)
    assert (kind is Step.NONE) == (far == 0)
    left_out = order[order.index(was) + 1 : order.index(becomes)]
    assert (kind is Step.NEXT) == (far > 0 and left_out in ([], [Phase.DUAL_WRITE]) and far < 3)
    assert (becomes in following(was)) == (kind is Step.NEXT)


def test_a_plain_post_beside_services_that_write_is_never_entered() -> None:
    """Forced or not: it would double every record that a service was quicker with."""
    exclusive = Standing(Phase.REHEARSE, Strategy.EXCLUSIVE)
    assert "doubles" in hindrance(exclusive, Phase.DUAL_WRITE)
    assert not hindrance(exclusive, Phase.BACKFILL)


def test_the_evidence_that_is_kept_is_numbers_and_times() -> None:
    kept = PROVED.as_json()
    assert kept["discrepancy"] == {
        "since": AGO.isoformat(), "agreed": 99, "missed": 1, "different": 0, "left_out": 0,
        "unknown": 0,
    }  # fmt: skip
    assert kept["comparisons"][0]["id"] == 4
    assert "mark" not in kept
