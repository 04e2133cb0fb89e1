"""Processes that share a credential never exceed its limits together, and wait for nothing else.

The account's history and the one in memory are held against each other and against a count by
brute force, on a clock whose ticks both keep exactly.
"""

import datetime as dt
import itertools
import multiprocessing as mp
import sqlite3
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from migration_assets.errors import Transient
from migration_assets.legacy import budgets
from migration_assets.legacy.budgets import Budget, RequestHistory, RequestsInMemory
from migration_assets.legacy.description import Limit, Source
from migration_assets.legacy.transport import Transport
from migration_assets.manifest import Manifest, engine
from migration_assets_tests.legacy.conftest import VirtualTime

TICK = 0.25
"""Seconds; exact in a float and in whole microseconds, so that no rounding tells the two apart."""

BEFORE_OFFICE_HOURS = dt.datetime(2024, 6, 5, 5, 59, tzinfo=ZoneInfo("America/Denver")).timestamp()
OFFICE: dict[str, Any] = {"hours": (6, 18), "tz": "America/Denver"}

steady = st.builds(
    Limit,
    requests=st.integers(1, 5),
    per_seconds=st.sampled_from([1, 7, 60]),
    clock_aligned=st.booleans(),
)
by_the_hour = st.builds(
    lambda limit, elsewhen: limit.model_copy(update={**OFFICE, "elsewhen": elsewhen}),
    steady,
    st.booleans(),
)
at_an_edge = st.sampled_from([0.0, TICK, 1 - TICK, 1.0, 7.0, 60.0])
pauses = st.lists(
    st.one_of(at_an_edge, st.integers(0, 120).map(lambda n: n * TICK)), min_size=1, max_size=25
)
fresh_names = itertools.count()


def fits(limit: Limit, made: list[float], at: float) -> bool:
    """By brute force: whether a further request at an instant keeps the limit."""
    if not limit.holds(dt.datetime.fromtimestamp(at, dt.UTC)):
        return True
    span = limit.per_seconds
    begin = at // span * span if limit.clock_aligned else at - span + TICK  # begin itself is in
    return sum(begin <= one <= at for one in made) < limit.requests


def earliest(limits: list[Limit], made: list[float], asked: float) -> float:
    """By brute force: the first tick from ``asked`` on at which a further request keeps all."""
    while not all(fits(limit, made, asked) for limit in limits):
        asked += TICK
    return asked


def made_by(
    limits: list[Limit], waits: list[float], history: RequestHistory
) -> list[tuple[float, float]]:
    """When each request was wanted, and when it was made."""
    moments, told = VirtualTime(now=BEFORE_OFFICE_HOURS), []
    name = f"budget {next(fresh_names)}"
    # As several processes do: each has a budget of its own on one history.
    sharing = [
        Budget(limits, name, history, clock=moments.clock, sleep=moments.sleep) for _ in range(3)
    ]
    for pause, budget in zip(waits, itertools.cycle(sharing), strict=False):
        moments.now += pause
        wanted = moments.now
        budget.take()
        told.append((wanted, moments.now))
    return told


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@example(
    described=[Limit(requests=1, per_seconds=60, clock_aligned=True)], waits=[0.0, 0.0, 60 - TICK]
)
@given(described=st.lists(st.one_of(steady, by_the_hour), max_size=3), waits=pauses)
def test_the_account_the_memory_and_a_count_by_brute_force_allow_the_same_requests(
    manifest: Manifest, described: list[Limit], waits: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "_MARGIN", TICK)
        told = made_by(described, waits, manifest)
        assert told == made_by(described, waits, RequestsInMemory())
    made: list[float] = []
    for wanted, at in told:
        assert all(fits(limit, made, at) for limit in described)
        if all(limit.hours is None for limit in described):
            best = earliest(described, made, wanted)
            assert at == (best if best == wanted else best + TICK)
        made.append(at)


def test_a_longer_look_back_is_not_cut_short_by_one_who_needs_less(manifest: Manifest) -> None:
    """Two descriptions on one budget: what one forgets, the other would spend again."""
    moments = VirtualTime()
    minute, hour = Limit(requests=2, per_seconds=60), Limit(requests=6, per_seconds=3600)
    long = Budget([hour], "ours", manifest, clock=moments.clock, sleep=moments.sleep)
    short = Budget([minute], "ours", manifest, clock=moments.clock, sleep=moments.sleep)
    long.take()
    for _ in range(5):
        short.take()
    assert sum(moments.slept) < 600
    long.take()
    assert moments.now >= 1_700_000_000 + 3600


def test_a_clock_that_was_wrong_once_does_not_bar_requests_for_years(manifest: Manifest) -> None:
    """A process noted requests in 2038, its clock was set right, and the note stays."""
    moments = VirtualTime(now=2_150_000_000.0)
    limit = Limit(requests=2, per_seconds=60)
    for history in (manifest, RequestsInMemory()):
        moments.now = 2_150_000_000.0
        budget = Budget([limit], "ours", history, clock=moments.clock, sleep=moments.sleep)
        budget.take()
        budget.take()
        moments.now = 1_700_000_000.0
        moments.slept.clear()
        for _ in range(5):
            budget.take()
        assert 60 <= sum(moments.slept) < 180


LIMITS = [
    Limit(requests=10, per_seconds=0.5),
    Limit(requests=16, per_seconds=1, clock_aligned=True),
]
PROCESSES, EACH = 3, 16


def spend(url: str, together: Barrier, told: "mp.Queue[list[float]]") -> None:
    """One process: takes requests as fast as it is let; tells when each was counted."""
    manifest = Manifest(url, clock=lambda: dt.datetime.now(dt.UTC))
    read: list[float] = []

    def clock() -> float:
        read.append(time.time())
        return read[-1]

    budget = Budget(LIMITS, "ours", manifest, clock=clock, sleep=time.sleep)
    together.wait(60)
    made = []
    for _ in range(EACH):
        budget.take()
        made.append(read[-1])
    manifest.close()
    told.put(made)


def test_processes_on_one_budget_never_exceed_it_together(manifest_url: str) -> None:
    Manifest(manifest_url, clock=lambda: dt.datetime.now(dt.UTC)).close()
    spawn = mp.get_context("spawn")
    together, told = spawn.Barrier(PROCESSES), spawn.Queue()
    running = [
        spawn.Process(target=spend, args=(manifest_url, together, told)) for _ in range(PROCESSES)
    ]
    for each in running:
        each.start()
    made = sorted(at for _ in running for at in told.get(timeout=100))
    for each in running:
        each.join()
        assert each.exitcode == 0
    assert len(made) == PROCESSES * EACH
    for limit in LIMITS:
        for index, at in enumerate(made):
            span = limit.per_seconds
            begin = at // span * span if limit.clock_aligned else at - span
            inside = [one for one in made[: index + 1] if begin < one]
            assert len(inside) <= limit.requests


def test_a_locked_account_lets_no_uncounted_request_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0)
    path = tmp_path / "manifest.db"
    moments = VirtualTime()
    manifest = Manifest(
        f"sqlite:///{path}", clock=lambda: dt.datetime.now(dt.UTC), sleep=moments.sleep
    )
    budget = Budget(LIMITS, "ours", manifest, clock=moments.clock, sleep=moments.sleep)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient, match="locked"):
        budget.take()
    other.execute("ROLLBACK")
    other.close()
    budget.take()
    manifest.close()


def test_an_account_that_is_gone_lets_no_uncounted_request_out(postgres_url: str) -> None:
    moments = VirtualTime()
    manifest = Manifest(postgres_url, clock=lambda: dt.datetime.now(dt.UTC), sleep=moments.sleep)
    budget = Budget(LIMITS, "ours", manifest, clock=moments.clock, sleep=moments.sleep)
    server, name = postgres_url.rsplit("/", 1)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        with pytest.raises(Transient, match="gone"):
            budget.take()
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    budget.take()
    manifest.close()


def test_a_source_counts_under_the_budget_it_names_or_its_own_name(manifest: Manifest) -> None:
    described: dict[str, Any] = {
        "name": "clinic",
        "base_url": "http://127.0.0.1:9",
        "limits": [{"requests": 1, "per_seconds": 60}],
        "http": {"attempts": 1},
        "streams": [{"name": "rows", "path": "rows", "select": "$", "id": "id"}],
    }
    moments = VirtualTime()
    for source in (described, {**described, "name": "other", "budget": "clinic"}):
        transport = Transport(
            Source.model_validate(source),
            environ={},
            clock=moments.clock,
            sleep=moments.sleep,
            history=manifest,
        )
        with pytest.raises(Transient):
            transport.fetch("http://127.0.0.1:9/rows", (), where="asking nobody")
        transport.close()
    assert sum(moments.slept) == pytest.approx(60, abs=1)
