"""All that share a client spend what Medplum grants it, and no more; whoever crashes meanwhile."""

import datetime as dt
import heapq
import itertools
import math
import multiprocessing as mp
import random
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.errors import Transient
from migration_assets.manifest import Manifest, engine
from migration_assets.medplum import MedplumClient, Submission
from migration_assets.medplum.bundles import Packed, bundle_json, pack
from migration_assets.medplum.ledger import GLANCE, Aside, Ledger, Refused, from_text
from migration_assets.medplum.quota import Grant, LedgersInMemory, Pacer
from migration_assets_tests.medplum.submissions import of_type, patient

WINDOW, LIMIT, ENTRY, BUNDLE = 60.0, 50_000, 140, 200


@dataclass
class Server:
    """Medplum's limiter: a fixed window that begins with its first point (contract §8)."""

    now: float = 1_000_000.0
    ends_at: float = 0.0
    began: list[float] = field(default_factory=list)
    served: list[int] = field(default_factory=list)  # points, of each window
    spent: int = 0
    refused: int = 0

    def spend(self, points: int) -> bool:
        """Charge an entry, and say whether it was carried out."""
        if self.now >= self.ends_at:
            self.ends_at, self.spent = self.now + WINDOW, 0
            self.began.append(self.now)
            self.served.append(0)
        self.spent += points
        fits = self.spent <= LIMIT
        self.served[-1] += points * fits
        self.refused += not fits
        return fits

    @property
    def header(self) -> str:
        """What it tells with every answer."""
        left, seconds = max(0, LIMIT - self.spent), math.ceil(self.ends_at - self.now)
        return f'"requests";r=59985;t=60, "fhirInteractions";r={left};t={seconds}'

    @property
    def used(self) -> float:
        """Points served of those that could have been, in the windows that are over."""
        return sum(self.served[:-1]) / (LIMIT * (self.began[-1] - self.began[0]) / WINDOW)


def loading(
    server: Server, pacer: Pacer, dice: random.Random, *, crashes: float, until: float
) -> Iterator[float]:
    """One loader with no end of work; yields the seconds that pass, for the server's clock."""
    while server.now < until:
        said = pacer._offer(ENTRY, BUNDLE * ENTRY)
        if isinstance(said, Refused):
            yield said.seconds
            pacer._wait(Refused(0.0, said.ends_at))
            continue
        granted = BUNDLE * ENTRY if said.points is None else said.points
        entries = max(1, min(BUNDLE, granted // ENTRY))
        said.keep(entries * ENTRY)
        yield dice.uniform(0.01, 0.1)
        if dice.random() < crashes:
            return
        with said:
            for _ in range(entries):
                yield dice.uniform(0.005, 0.025)
                if not server.spend(dice.choice([100, 120, ENTRY])):
                    break
            header = server.header
            yield dice.uniform(0.01, 0.05)
            pacer.heard(header)


def simulated(loaders: int, *, crashes: float = 0.0, minutes: int = 8) -> Server:
    """Loaders that share a ledger, on a clock that moves from event to event."""
    server, dice, ledgers, order = (
        Server(),
        random.Random(loaders),  # noqa: S311 - a simulation
        LedgersInMemory(),
        itertools.count(),
    )
    until = server.now + minutes * WINDOW
    events: list[tuple[float, int, Iterator[float]]] = []
    for _ in range(loaders):
        pacer = Pacer(clock=lambda: server.now, sleep=lambda _: None, ledgers=ledgers)
        one = loading(server, pacer, dice, crashes=crashes, until=until)
        events.append((server.now + dice.random(), next(order), one))
    first = Pacer(clock=lambda: server.now, ledgers=ledgers)
    server.spend(20)  # every run looks before it writes
    first.heard(server.header)
    heapq.heapify(events)
    while events:
        server.now, _, one = heapq.heappop(events)
        for seconds in itertools.islice(one, 1):
            heapq.heappush(events, (server.now + seconds, next(order), one))
    return server


@pytest.mark.parametrize("loaders", [1, 3, 12])
def test_loaders_of_one_client_use_its_quota_to_the_end_and_earn_no_429(loaders: int) -> None:
    server = simulated(loaders)
    assert server.refused == 0
    assert server.used >= 0.98


def test_what_a_crashed_loader_had_set_aside_is_free_again_with_the_next_window() -> None:
    server = simulated(12, crashes=0.02)
    assert server.refused == 0
    assert server.used >= 0.9
    assert sum(server.served[-2:-1]) >= 0.98 * LIMIT


# -- what is set aside ---------------------------------------------------------------------------


def test_no_entry_costs_more_than_is_set_aside_for_it(client: MedplumClient) -> None:
    """References that Medplum is to look up cost 20 points each (contract §5, §8)."""
    who, doctor = "Patient?identifier=urn:x%7CP1", "Practitioner?identifier=urn:x%7CD1"
    visit = of_type("Encounter", "E1", status="finished", subject={"reference": who})
    visit = replace(visit, body={**(visit.body or {}), "class": {"code": "AMB"}})
    test = of_type(
        "Observation",
        "O1",
        status="final",
        code={"text": "x"},
        subject={"reference": who},
        performer=[{"reference": doctor}, {"reference": doctor}],
    )
    known = [of_type("Patient", "P1"), of_type("Practitioner", "D1")]
    for member in known:
        identified = {
            **(member.body or {}),
            "identifier": [{"system": "urn:x", "value": member.value}],
        }
        created = client.post_bundle(
            _bundle(pack(Submission(1, (replace(member, body=identified),)), exclusive=True)), 1
        )
        assert created[0]["response"]["status"] == "201"
    for exclusive, member, expected in [
        (True, patient("P2"), 100),
        (False, patient("P3"), 140),
        (True, visit, 120),
        (False, test, 200),
    ]:
        packed = pack(Submission(1, (member,)), exclusive=exclusive)
        before = client.pacer.points or 0
        (entry,) = client.post_bundle(_bundle(packed), 1)
        assert entry["response"]["status"] == "201"
        assert before - (client.pacer.points or 0) == packed.points == expected


def _bundle(packed: Packed) -> bytes:
    return bundle_json([packed.json])


# -- what follows from what was heard ------------------------------------------------------------


def test_an_answer_that_comes_late_brings_no_points_back() -> None:
    """Two bundles answered in one order are heard in the other."""
    heard = Ledger().heard(20_000, 30, now=0.0).heard(26_000, 30, now=0.2)
    assert heard.left == 20_000


def test_an_answer_from_the_window_before_says_nothing_of_this_one() -> None:
    now = Ledger().heard(90, 60, now=0.0).at(60.0).heard(49_000, 60, now=60.1)
    assert now.heard(0, 1, now=60.2).left == 49_000


def test_an_answer_from_the_next_window_ends_this_one() -> None:
    """Its seconds are rounded up, so a window is over before we are sure of it."""
    old = Ledger().heard(0, 60, now=0.0)
    assert old.heard(49_900, 60, now=59.9).left == 49_900


def test_a_new_window_is_not_granted_twice_before_anything_is_heard_of_it() -> None:
    """Four loaders that all wait for the window's end begin at the same instant."""
    pacer = Pacer(clock=lambda: now[0])
    now = [0.0]
    pacer.heard('"fhirInteractions";r=50000;t=60')
    now[0] = 61.0
    granted = [pacer.offer(140, 28_000) for _ in range(4)]
    assert [each.points if each else None for each in granted] == [28_000, 22_000, None, None]


def test_who_wakes_late_does_not_forget_what_others_heard_of_the_new_window() -> None:
    now, ledgers = [0.0], LedgersInMemory()

    def sleep(seconds: float) -> None:
        now[0] += seconds
        with other.reserve(49_000):
            other.heard('"fhirInteractions";r=200;t=60')

    other = Pacer(clock=lambda: now[0], ledgers=ledgers)
    waiting = Pacer(clock=lambda: now[0], sleep=sleep, ledgers=ledgers)
    other.heard('"fhirInteractions";r=50000;t=60')
    other.heard('"fhirInteractions";r=0;t=60')
    waiting.reserve(100)
    assert waiting.ledger.left == 200


def test_a_quota_that_was_never_heard_of_is_asked_for_by_one_alone() -> None:
    pacer = Pacer(clock=lambda: 0.0)
    first = pacer.offer(100, 28_000)
    assert first is not None
    assert pacer.offer(100) is None
    with first:
        pacer.heard('"fhirInteractions";r=150;t=60')
    assert isinstance(second := pacer.offer(100, 500), Grant)
    assert second.points == 150


def test_a_server_without_a_quota_holds_nobody_up() -> None:
    pacer = Pacer(clock=lambda: 0.0)
    with pacer.reserve(100) as grant:
        pacer.heard(None)
    assert grant.points is None
    assert [pacer.offer(100) is not None for _ in range(3)] == [True] * 3


def test_what_costs_more_than_a_whole_window_goes_when_it_has_one_to_itself() -> None:
    ledger = Ledger().heard(60, 60, now=0.0)
    assert ledger.ask(100, now=1.0) == Refused(59.0, 60.0)
    assert not isinstance(ledger.at(60.0).ask(100, now=60.0), Refused)
    shared = ledger.at(60.0).setting_aside("other", 60, 60.0)
    assert shared.ask(100, now=60.0) == Refused(GLANCE)


def test_a_request_without_an_answer_counts_as_spent() -> None:
    """The server may still be about to carry it out."""
    pacer = Pacer(clock=lambda: 0.0)
    pacer.heard('"fhirInteractions";r=1000;t=60')
    with pytest.raises(Transient), pacer.reserve(400):
        raise Transient("cut off")
    assert pacer.points == 600


def test_a_request_that_was_refused_counts_as_its_answer_says() -> None:
    pacer = Pacer(clock=lambda: 0.0)
    pacer.heard('"fhirInteractions";r=1000;t=60')
    with pytest.raises(Transient), pacer.reserve(400):
        _refused(pacer, '"fhirInteractions";r=900;t=60')
    assert pacer.points == 900


def _refused(pacer: Pacer, header: str) -> None:
    pacer.heard(header)
    raise Transient("refused, and told so")


def test_a_429_stops_everybody_until_the_wait_it_names_is_over() -> None:
    now, ledgers = [100.0], LedgersInMemory()
    one, other = (
        Pacer(clock=lambda: now[0], sleep=lambda _: None, ledgers=ledgers) for _ in range(2)
    )
    one.heard('"fhirInteractions";r=9000;t=50')
    one.change(lambda ledger, at: ledger.throttled(4.2, at))
    assert other.offer(100) is None
    now[0] = 104.2
    assert other.offer(100) is not None


numbers = st.integers(0, 100_000)
moments = st.floats(0, 2e9)
ledgers = st.builds(
    Ledger,
    limit=st.none() | numbers,
    left=st.none() | numbers,
    ends_at=st.none() | moments,
    span=moments,
    unlimited=st.booleans(),
    aside=st.dictionaries(st.text(max_size=5), st.builds(Aside, numbers, moments), max_size=3),
)


@given(ledgers)
def test_a_ledger_is_read_as_it_was_written(ledger: Ledger) -> None:
    assert from_text(ledger.to_text()) == ledger


@pytest.mark.parametrize("text", [None, "", "[]", "7", '{"former": 1}', '{"aside": [1]}', "{"])
def test_a_ledger_of_another_version_is_begun_anew(text: str | None) -> None:
    assert from_text(text) == Ledger()


# -- in the account ------------------------------------------------------------------------------


def take_turns(url: str, together: Barrier, turns: int) -> None:
    """One process: sets points aside, one request after the other."""
    manifest = Manifest(url, clock=lambda: dt.datetime.now(dt.UTC))
    pacer = Pacer(clock=time.time, ledgers=manifest, name="ours")
    together.wait(60)
    for _ in range(turns):
        assert pacer.offer(1) is not None
    manifest.close()


def test_processes_set_points_aside_one_at_a_time(manifest_url: str) -> None:
    manifest = Manifest(manifest_url, clock=lambda: dt.datetime.now(dt.UTC))
    pacer = Pacer(clock=time.time, ledgers=manifest, name="ours")
    pacer.heard('"fhirInteractions";r=50000;t=3600')
    spawn = mp.get_context("spawn")
    together = spawn.Barrier(3)
    running = [
        spawn.Process(target=take_turns, args=(manifest_url, together, 20)) for _ in range(3)
    ]
    for each in running:
        each.start()
    for each in running:
        each.join()
        assert each.exitcode == 0
    assert pacer.points == 50_000 - 60
    manifest.close()


def test_an_answer_is_not_lost_because_the_account_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0)
    path = tmp_path / "manifest.db"
    manifest = Manifest(
        f"sqlite:///{path}", clock=lambda: dt.datetime.now(dt.UTC), sleep=lambda _seconds: None
    )
    pacer = Pacer(clock=lambda: 0.0, ledgers=manifest, name="ours")
    pacer.heard('"fhirInteractions";r=1000;t=60')
    other = sqlite3.connect(path, isolation_level=None)
    with pacer.reserve(100) as grant:
        other.execute("BEGIN IMMEDIATE")
        grant.keep(50)
        pacer.heard('"fhirInteractions";r=900;t=60')
    with pytest.raises(Transient, match="locked"):
        pacer.reserve(100)
    other.execute("ROLLBACK")
    other.close()
    assert pacer.points == 900  # told by nobody: 1,000 less what was set aside
    manifest.close()
