"""Several bundles at once: only what cannot collide, no faster than pays, nothing lost."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from migration_assets.demo.faults import Fault, Wrong, mixture
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.medplum import (
    Delivered,
    Deliverer,
    Manner,
    MedplumClient,
    Pacer,
    Submission,
    Verdict,
)
from migration_assets.medplum.bundles import pack
from migration_assets.medplum.lanes import Lanes, Width
from migration_assets_tests.medplum.conftest import QUOTA, SECRET
from migration_assets_tests.medplum.submissions import answered, group, of_type, patient, single
from migration_assets_tests.medplum.test_faults import assert_there_once_as_sent, changed

FOUR = Manner(max_concurrency=4)
PATIENCE = 10.0  # seconds until a test that waits for a second bundle gives up


# -- how many ------------------------------------------------------------------------------------


def test_another_lane_is_opened_while_it_brings_a_tenth_more_and_given_back_when_not() -> None:
    now = [0.0]
    width = Width(4, clock=lambda: now[0])
    seen: list[int] = []
    for _ in range(30):
        now[0] += 1 / min(width.now, 3)  # a server that three lanes keep busy
        width.answered(100, trouble=False)
        seen.append(width.now)
    assert list(dict.fromkeys(seen)) == [1, 2, 3, 4]
    assert seen[-1] == 3


def test_a_server_that_gains_nothing_from_lanes_gets_one() -> None:
    """Contract §3: four lanes were slower than one."""
    now = [0.0]
    width = Width(4, clock=lambda: now[0])
    for _ in range(60):
        now[0] += 1.0
        width.answered(100, trouble=False)
    assert width.now == 1


@given(answers=st.lists(st.tuples(st.integers(0, 200), st.booleans(), st.floats(0, 5))))
def test_trouble_always_leaves_one_lane_and_nothing_ever_more_than_allowed(
    answers: list[tuple[int, bool, float]],
) -> None:
    now = [0.0]
    width = Width(3, clock=lambda: now[0])
    for entries, trouble, seconds in answers:
        now[0] += seconds
        width.answered(entries, trouble=trouble)
        assert 1 <= width.now <= 3
        if trouble:
            assert width.now == 1


# -- which ---------------------------------------------------------------------------------------


def test_only_what_cannot_collide_in_medplum_may_run_beside_others() -> None:
    """Contract §3: a search inside a write locks against all other writers."""
    known = patient("P1", fhir_id="a", version_id="1")
    refers = of_type("Observation", "O1", subject={"reference": "Patient?identifier=s|v"})
    literal = of_type("Observation", "O1", subject={"reference": "Patient/a"})
    (whole,) = [group("E1", "Patient/x")]

    def parallel(submission: Submission, *, exclusive: bool) -> bool:
        return pack(submission, exclusive=exclusive).parallel

    one = [Submission(1, (each,)) for each in (known, patient("P2"), refers, literal)]
    assert [parallel(each, exclusive=True) for each in one] == [True, True, False, True]
    assert [parallel(each, exclusive=False) for each in one] == [True, False, False, False]
    assert not parallel(whole, exclusive=True)


class Watched:
    """A server that holds nothing, creates everything, and knows what is under way beside what."""

    def __init__(self, meanwhile: Callable[["Watched", int], None] | None = None) -> None:
        self.pacer = Pacer()
        self.meanwhile = meanwhile or (lambda _server, _number: None)
        self.changed = threading.Condition()
        self.under_way: list[bytes] = []
        self.beside: list[list[bytes]] = []
        self.threads: list[int] = []
        self.conflicts: set[int] = set()
        self._numbers = itertools.count(1)

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """Created, each of them; or a conflict for the whole bundle."""
        with self.changed:
            number = next(self._numbers)
            self.threads.append(threading.get_ident())
            self.under_way.append(body)
            self.beside.append(list(self.under_way))
            self.changed.notify_all()
        self.meanwhile(self, number)
        with self.changed:
            self.under_way.remove(body)
            self.changed.notify_all()
        if number in self.conflicts:
            return [answered("409", "x", "conflict") for _ in range(entries)]
        sent = [each["request"] for each in orjson.loads(body)["entry"]]
        return [
            {
                "response": {"status": "201"},
                "resource": {"id": _id_of(each, f"{number}-{at}"), "meta": {"versionId": "1"}},
            }
            for at, each in enumerate(sent)
        ]

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """Nothing is there."""
        return []

    def transactions_available(self) -> bool:
        """Groups are atomic."""
        return True


def _id_of(request: dict[str, str], new: str) -> str:
    return request["url"].split("/")[1] if "/" in request["url"] else new


def second_arrives(server: Watched, number: int) -> None:
    """The fourth bundle, when one lane has been measured, waits for company."""
    if number == 4:
        with server.changed:
            assert server.changed.wait_for(
                lambda: len(server.under_way) > 1 or len(server.beside) > number, PATIENCE
            )


def run(
    server: Watched,
    submissions: list[Submission],
    *,
    exclusive: bool = True,
    before_sending: Callable[[], None] = lambda: None,
) -> list[Delivered]:
    """Deliver with up to four lanes."""
    deliverer = Deliverer(
        server,
        exclusive=exclusive,
        deadline_seconds=60.0,
        sleep=lambda _seconds: None,
        before_sending=before_sending,
        manner=FOUR,
    )
    return [each for finished in deliverer.deliver(submissions) for each in finished]


def many(count: int) -> list[Submission]:
    """New patients."""
    return single(*(patient(f"P{number}") for number in range(count)))


def test_bundles_that_cannot_collide_travel_side_by_side() -> None:
    server = Watched(second_arrives)
    called: list[int] = []
    ended = run(server, many(1_600), before_sending=lambda: called.append(threading.get_ident()))
    assert Counter(each.submission.unit for each in ended) == Counter(range(1, 1_601))
    assert max(len(each) for each in server.beside) > 1
    assert set(called) == {threading.get_ident()}
    assert len(called) == len(server.beside)


def test_bundles_that_may_collide_travel_alone() -> None:
    """New resources of a shared type among known ones: the known ones may run side by side."""
    known = [patient(f"K{n}", fhir_id=f"k{n}", version_id="1") for n in range(1_000)]
    mixed = itertools.chain.from_iterable(
        zip(known, (patient(f"P{n}") for n in range(1_000)), strict=True)
    )
    server = Watched()
    ended = run(server, single(*mixed), exclusive=False)
    assert len(ended) == 2_000
    for beside in server.beside:
        assert len(beside) == 1 or all(b"?identifier=" not in each for each in beside)
    assert len(server.beside) == 10  # full bundles, although the kinds alternate


def test_what_may_collide_neither_joins_others_nor_is_joined() -> None:
    (known,) = single(patient("P1", fhir_id="a", version_id="1"))
    (new,) = single(patient("P2"))
    may, may_not = pack(known, exclusive=False), pack(new, exclusive=False)
    go = threading.Event()

    def post() -> list[dict[str, Any]]:
        assert go.wait(PATIENCE)
        return []

    with Lanes(4) as lanes:
        lanes.width.now = 2
        for first, second, room in ((may, may, True), (may, may_not, False), (may_not, may, False)):
            go.clear()
            lanes.send([first], post)
            assert lanes.room_for(second) is room
            go.set()
            assert lanes.answer() == ([first], [])
            assert not lanes.busy


def test_a_conflict_sends_the_rest_one_after_the_other() -> None:
    server = Watched()
    server.conflicts = {1}
    ended = run(server, many(1_000))
    assert len(ended) == 1_000
    assert {len(each) for each in server.beside} == {1}


def test_one_lane_is_sent_in_the_calling_thread_and_starts_no_other() -> None:
    server = Watched()
    deliverer = Deliverer(server, exclusive=True, deadline_seconds=60.0)
    assert sum(len(each) for each in deliverer.deliver(many(500))) == 500
    assert set(server.threads) == {threading.get_ident()}


def test_what_forbids_sending_ends_the_delivery_although_bundles_are_under_way() -> None:
    """The lease is lost: what is under way is waited for, and nothing follows it."""
    server = Watched(second_arrives)
    calls = itertools.count(1)

    def lost() -> None:
        if next(calls) == 6:
            raise Permanent("another run writes this type")

    with pytest.raises(Permanent, match="another run"):
        run(server, many(2_000), before_sending=lost)
    assert server.under_way == []
    assert len(server.beside) == 5


def test_a_delivery_that_nobody_listens_to_any_more_leaves_no_thread_behind() -> None:
    server = Watched()
    deliverer = Deliverer(server, exclusive=True, deadline_seconds=60.0, manner=FOUR)
    delivery = deliverer.deliver(many(2_000))
    next(delivery)
    delivery.close()  # type: ignore[attr-defined]  # a generator is what it is
    assert server.under_way == []
    assert not [each for each in threading.enumerate() if each.name.startswith("medplum-lane")]


# -- for real ------------------------------------------------------------------------------------


@pytest.fixture
def _well_behaved_again(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox.behave()


def through_lanes(
    sandbox: Sandbox, submissions: list[Submission], *, exclusive: bool
) -> list[Delivered]:
    """Deliver for real with up to four lanes; waits let the server finish and refill the quota."""

    def sleep(_seconds: float) -> None:
        sandbox.settle()
        sandbox.refill()

    client = MedplumClient(
        sandbox.base_url, sandbox.client_id, SecretStr(SECRET), sleep=sleep, timeout=(5.0, 5.0)
    )
    deliverer = Deliverer(
        client, exclusive=exclusive, deadline_seconds=100.0, sleep=sleep, manner=FOUR
    )
    return [each for finished in deliverer.deliver(submissions) for each in finished]


@pytest.mark.sandbox
@pytest.mark.usefixtures("_well_behaved_again")
@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
@pytest.mark.parametrize("seed", [1, 2])
def test_through_every_fault_four_lanes_write_each_resource_once_as_sent(
    sandbox: Sandbox, seed: int, exclusive: bool
) -> None:
    sandbox.change(quota_per_minute=3_000)
    survived = [each for each in Wrong if each not in (Wrong.EDITED, Wrong.LATE)]
    once = [Fault(each, at=(1,)) for each in survived]
    sandbox.misbehave(*once, *mixture(of_writes=0.05, of_requests=0.03), seed=seed)
    created = through_lanes(sandbox, many(200), exclusive=exclusive)
    assert {each.verdict for each in created} == {Verdict.WRITTEN}
    again = through_lanes(sandbox, changed(created), exclusive=exclusive)
    assert {each.verdict for each in again} == {Verdict.WRITTEN}
    assert_there_once_as_sent(sandbox, [each.submission for each in again])


@pytest.mark.sandbox
def test_lanes_together_stay_within_the_quota(sandbox: Sandbox) -> None:
    """Each lane for itself would see points that the others are about to spend."""
    throttled: list[str] = []

    class Counting(MedplumClient):
        """Notes what was refused for the quota."""

        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            answer = super().post_bundle(body, entries)
            throttled.extend(s for s in (e["response"]["status"] for e in answer) if s == "429")
            return answer

    sandbox.change(quota_per_minute=1_000)
    client = Counting(
        sandbox.base_url,
        sandbox.client_id,
        SecretStr(SECRET),
        sleep=lambda _seconds: sandbox.refill(),
    )
    deliverer = Deliverer(client, exclusive=True, deadline_seconds=100.0, manner=FOUR)
    assert sum(len(each) for each in deliverer.deliver(many(200))) == 200
    sandbox.change(quota_per_minute=QUOTA)
    assert throttled == []
