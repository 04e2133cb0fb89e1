"""No event of a queue is lost, whatever is cut off where, while people go on working.

Against a real HTTP server; requests are refused, answers lost, requests take effect after we gave
them up, the process dies before or after any landing, and the clocks disagree.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import MigrationError
from migration_assets.legacy.description import load_description
from migration_assets.legacy.pull import Puller
from migration_assets.legacy.rows import PulledRow
from migration_assets_tests.legacy.conftest import VirtualTime
from migration_assets_tests.legacy.legacy_server import LegacyServer
from migration_assets_tests.legacy.queue_source import (
    EASTERN,
    Event,
    Fault,
    Order,
    QueueSource,
)

SETTLE_LAG = dt.timedelta(seconds=1)

STARTS = [
    dt.datetime(2024, 6, 3, 9, 30, tzinfo=EASTERN),
    dt.datetime(2024, 11, 3, 0, 30, tzinfo=EASTERN),
    dt.datetime(2024, 11, 3, 1, 59, 50, tzinfo=EASTERN),  # ten seconds before clocks go back
    dt.datetime(2024, 11, 3, 1, 59, 50, tzinfo=EASTERN, fold=1),
    dt.datetime(2024, 3, 10, 1, 59, 50, tzinfo=EASTERN),
]


class CutError(Exception):
    """The process dies here."""


@dataclass
class Account:
    """What the manifest does for the law: rows and mark, each landing whole or not at all."""

    cuts: Iterator[str] = field(default_factory=lambda: iter(()))
    mark: dt.datetime | None = None
    held: set[tuple[str, int]] = field(default_factory=set)
    latest: dict[str, int] = field(default_factory=dict)

    def land(self, rows: tuple[PulledRow, ...], mark: dt.datetime | None = None) -> None:
        """Commit, unless it is cut off before; it may also be cut off right after."""
        cut = next(self.cuts, "")
        if cut == "before":
            raise CutError
        for row in rows:
            assert row.problem is None
            self.held.add((str(row.key), row.row["version"]))
            self.latest[str(row.key)] = row.row["version"]
        if mark is not None:
            self.mark = max(mark, self.mark) if self.mark else mark
        if cut == "after":
            raise CutError

    def pull(self, puller: Puller) -> None:
        """As the pipeline does: land page by page, the mark with the last; then acknowledge."""
        held = None
        for page in puller.pages("patients", self.mark, None):
            if held is not None:
                self.land(held.rows)
            held = page
        assert held is not None
        assert held.read_until is not None
        self.land(held.rows, held.read_until - SETTLE_LAG)
        for page in puller.acknowledge("patients"):
            self.land(page.rows)


DESCRIBED = {
    "name": "athena",
    "streams": [
        {
            "name": "patients",
            "path": "changed",
            "select": "patients",
            "id": "patientid",
            "pager": {"type": "offset", "size": 3, "total": "totalcount", "overlap": 1},
            "queue": {
                "type": "consume",
                "peek": {"leaveunprocessed": "true"},
                "take": {"leaveunprocessed": "false"},
                "reread": {
                    "param": "showprocessedstartdatetime",
                    "until_param": "showprocessedenddatetime",
                    "format": "%m/%d/%Y %H:%M:%S",
                    "tz": "America/New_York",
                },
            },
        }
    ],
}


@dataclass
class Clinic:
    """A server with a queue, and pullers that come and go."""

    server: LegacyServer
    source: QueueSource
    skew: dt.timedelta = dt.timedelta(0)
    attempts: int = 2

    def __post_init__(self) -> None:
        """Serve this source from now on."""
        self.server.routes["/changed"] = self.source.serve

    def pull(self, account: Account) -> bool:
        """One run of one process; False if it was cut off."""
        ours = VirtualTime((self.source.now + self.skew).timestamp())
        described = {
            **DESCRIBED,
            "base_url": self.server.url,
            "http": {"attempts": self.attempts, "backoff": 0},
        }
        puller = Puller(
            load_description(yaml.safe_dump(described)),
            environ={},
            clock=ours.clock,
            sleep=ours.sleep,
        )
        try:
            account.pull(puller)
        except (CutError, MigrationError):
            return False
        finally:
            puller.close()
        return True


@pytest.fixture(scope="module")
def shared() -> Iterator[LegacyServer]:
    with LegacyServer() as running:
        yield running


def lost(source: QueueSource, account: Account) -> set[Event]:
    """Events that are neither on account nor to be seen by the next pull."""
    return {one for one in source.events if (one.patient, one.number) not in account.held} - {
        *source.unread
    }


PATIENTS = ["1", "2", "3", "4", "5", "6", "7"]
patients = st.sampled_from(PATIENTS)
changes = st.lists(st.lists(patients, max_size=3), max_size=40)
cuts = st.lists(st.sampled_from(["", "", "", "", "before", "after"]), max_size=20)


@dataclass(frozen=True)
class Schedule:
    """What happens in which order; everything is well once it is over."""

    start: dt.datetime
    skew: int
    order: Order
    largest_page: int
    attempts: int
    queued: list[str]
    changes: list[list[str]]
    faults: list[Fault]
    faults_of_takes: list[Fault]
    cuts: list[str]
    pauses: list[int]


FAULTS: list[Fault] = ["none", "none", "refused", "lost", "late"]
schedules = st.builds(
    Schedule,
    start=st.sampled_from(STARTS),
    skew=st.integers(-1800, 1800),
    order=st.sampled_from(["oldest first", "newest first", "one per patient"]),
    largest_page=st.integers(2, 4),
    attempts=st.integers(1, 2),
    queued=st.lists(patients, max_size=12),
    changes=changes,
    faults=st.lists(st.sampled_from(["none", "none", "none", *FAULTS]), max_size=20),
    faults_of_takes=st.lists(st.sampled_from(FAULTS), max_size=8),
    cuts=cuts,
    # All under the lookback: what takes effect later than that is beyond any promise.
    pauses=st.lists(st.integers(0, 1700), min_size=5, max_size=5),
)


@settings(max_examples=120, deadline=None)
@given(schedules)
def test_no_event_is_lost_wherever_a_pull_is_cut(shared: LegacyServer, plan: Schedule) -> None:
    """Events that were superseded while in a queue of one per patient need never be seen."""
    work = iter(plan.changes)
    source = QueueSource(
        plan.start.astimezone(dt.UTC),
        plan.order,
        plan.largest_page,
        iter(plan.faults),
        iter(plan.faults_of_takes),
    )
    clinic = Clinic(shared, source, dt.timedelta(seconds=plan.skew), plan.attempts)
    account = Account(iter(plan.cuts))

    def someone_works() -> None:
        for patient in next(work, []):
            source.change(patient)

    for patient in plan.queued:
        source.change(patient)
    source.before_each = someone_works
    for pause in plan.pauses:
        clinic.pull(account)
        source.now += dt.timedelta(seconds=pause)
    source.faults, source.faults_of_takes, account.cuts = iter(()), iter(()), iter(())
    source.before_each = lambda: None
    assert clinic.pull(account)
    assert clinic.pull(account)  # what took effect during the pull before
    latest = {event.patient: event for event in source.events}
    superseded = set(source.events) - set(latest.values())
    assert lost(source, account) <= (superseded if plan.order == "one per patient" else set())
    if plan.order != "newest first":
        assert account.latest == {event.patient: event.number for event in latest.values()}
    assert source.unread == []


@pytest.mark.parametrize("fault", ["lost", "late"])
def test_what_was_taken_unseen_is_read_again(shared: LegacyServer, fault: Fault) -> None:
    """A patient changes between peek and take; the answer that says so never arrives."""
    source = QueueSource(STARTS[0].astimezone(dt.UTC), "one per patient")
    clinic, account = Clinic(shared, source, attempts=1), Account()
    source.change("1")
    source.before_each = lambda: source.change("1") if len(source.asked) == 1 else None
    source.faults_of_takes = iter([fault])
    assert not clinic.pull(account)
    assert account.latest == {"1": 1}
    source.now += dt.timedelta(minutes=50)
    assert clinic.pull(account)
    assert clinic.pull(account)
    assert account.latest == {"1": 2}


@settings(max_examples=40, deadline=None)
@given(queued=st.lists(patients, max_size=12), changes=changes, cuts=cuts)
def test_a_row_is_taken_only_after_it_is_on_account(
    shared: LegacyServer, queued: list[str], changes: list[list[str]], cuts: list[str]
) -> None:
    """As far as the source lets us: while no answer is lost and the queue keeps its order."""
    work = iter(changes)
    source = QueueSource(STARTS[0].astimezone(dt.UTC))
    clinic, account = Clinic(shared, source), Account(iter(cuts))

    def landed_before(events: list[Event]) -> None:
        assert {(one.patient, one.number) for one in events} <= account.held

    def someone_works() -> None:
        for patient in next(work, []):
            source.change(patient)

    for patient in queued:
        source.change(patient)
    source.before_each, source.on_taking = someone_works, landed_before
    for _ in range(4):
        clinic.pull(account)


def requests(source: QueueSource, kind: Callable[[Any], bool]) -> int:
    return sum(kind(asked) for asked in source.asked)


def test_an_idle_queue_costs_two_requests_and_takes_nothing(shared: LegacyServer) -> None:
    source = QueueSource(STARTS[0].astimezone(dt.UTC))
    clinic, account = Clinic(shared, source), Account()
    source.change("1")
    for _ in range(3):
        assert clinic.pull(account)
    assert requests(source, lambda one: one.one("leaveunprocessed") == "false") == 1
    assert len(source.asked) == 2 + 2 + 2


def test_a_take_never_asks_for_more_than_was_peeked(shared: LegacyServer) -> None:
    """Somebody adds rows before each request; those that come after the peek stay unread."""
    source = QueueSource(STARTS[0].astimezone(dt.UTC))
    for patient in PATIENTS[:5]:
        source.change(patient)
    account = Account()
    source.before_each = lambda: source.change(f"new-{len(source.asked)}")
    assert Clinic(shared, source).pull(account)
    takes = [
        (one.one("limit"), one.one("offset"))
        for one in source.asked
        if one.one("leaveunprocessed") == "false"
    ]
    peeked = len({number for _, number in account.held})
    assert [int(limit) for limit, _ in takes] == [3] * (peeked // 3) + [peeked % 3] * (
        peeked % 3 > 0
    )
    assert {offset for _, offset in takes} == {"0"}
    assert len(source.taken) == peeked
    assert source.unread
