"""What a service is told, and what is on account by then."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_assets.manifest import Manifest, State
from migration_assets.manifest.inbox import plain
from migration_assets.manifest.rotation import rotate
from migration_assets.manifest.sealing import new_key
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.inbox.door import LIMITED, Door, door, fhir_patient, patient
from migration_assets_tests.scripted import NOW, START

LATER = START + timedelta(days=1)
NOTHING = {"new": 0, "changed": 0, "same": 0, "stale": 0, "quarantined": 0}


@pytest.fixture
def opened(manifest: Manifest, clock: Clock) -> Iterator[Door]:
    clock.now = NOW
    with door(manifest, clock=clock) as made:
        yield made


@pytest.fixture
def account(tmp_path: Path, clock: Clock) -> Iterator[Manifest]:
    """On SQLite alone: for claims about the door, which the database has no part in."""
    clock.now = NOW
    made = Manifest(blank_file(tmp_path / "manifest.db"), clock=clock)
    yield made
    made.close()


def rows(manifest: Manifest, stream: str = "patients") -> dict[str, Any]:
    return {each.key: each.row for each in manifest.landed_units(stream, limit=99)}


def test_an_event_is_on_account_before_the_service_hears_of_it(opened: Door) -> None:
    told = opened.send("/events/patients", patient("P1", START, family="Roe"))
    assert (told.status, told.body) == (
        HTTPStatus.ACCEPTED,
        {"event": "e-1", "landed": NOTHING | {"new": 1}, "replayed": False},
    )
    assert rows(opened.manifest) == {"P1": patient("P1", START, family="Roe")}
    assert opened.manifest.inbox.waiting(["patients"]) == 1
    assert opened.manifest.inbox.waiting(["organizations"]) == 0
    assert opened.manifest.high_water_mark("patients") is None


def test_the_same_event_again_changes_nothing_whatever_came_since(opened: Door) -> None:
    """A client that did not hear the answer sends it again, when the row is older than another."""
    first = opened.send("/events/patients", patient("P1", START, family="Old"), key="a")
    opened.send("/events/patients", patient("P1", LATER, family="New"), key="b")
    again = opened.send("/events/patients", patient("P1", START, family="Old"), key="a")
    assert again.body == first.body | {"replayed": True}
    assert rows(opened.manifest)["P1"]["family"] == "New"
    assert opened.manifest.balances()["patients"].eligible == 1


def test_an_older_event_that_comes_late_is_stale(opened: Door) -> None:
    opened.send("/events/patients", patient("P1", LATER, family="New"), key="b")
    late = opened.send("/events/patients", patient("P1", START, family="Old"), key="a")
    assert late.body["landed"] == NOTHING | {"stale": 1}
    assert rows(opened.manifest)["P1"]["family"] == "New"


def test_one_key_for_two_events_is_refused_and_the_first_stands(opened: Door) -> None:
    opened.send("/events/patients", patient("P1", START))
    for path, other in (
        ("/events/patients", patient("P1", LATER)),
        ("/events/patients?deleted=true", patient("P1", START)),
        ("/fhir/Patient", fhir_patient("P1", START)),
    ):
        told = opened.send(path, other)
        assert told.status == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "Idempotency-Key" in told.body["error"]
    assert opened.manifest.inbox.waiting(["patients", "fhir/Patient"]) == 1
    assert "fhir/Patient" not in opened.manifest.balances()


def test_two_services_may_use_the_same_key(opened: Door) -> None:
    opened.send("/events/organizations", {"id": "O1"})
    told = opened.send("/events/organizations", {"id": "O2"}, token=LIMITED)
    assert told.body["replayed"] is False
    assert set(rows(opened.manifest, "organizations")) == {"O1", "O2"}


def test_an_array_lands_whole_and_keeps_the_order_of_versions(opened: Door) -> None:
    """An outbox may hold two versions of one row: they are no collision."""
    listed = [
        patient("P1", START, family="Old"),
        patient("P2", START),
        patient("P1", LATER, family="New"),
    ]
    told = opened.send("/events/patients", listed)
    assert told.body["landed"] == NOTHING | {"new": 2, "changed": 1}
    assert rows(opened.manifest)["P1"]["family"] == "New"
    assert opened.manifest.balances()["patients"].by_state[State.PENDING] == 2


def test_of_two_events_with_one_change_time_the_later_counts_and_neither_is_held(
    opened: Door,
) -> None:
    """Within a second a row may change twice; in one page they would be a collision."""
    opened.send("/events/patients", patient("P1", START, family="First"), key="a")
    opened.send("/events/patients", patient("P1", START, family="Second"), key="b")
    (unit,) = opened.manifest.pending_units("patients")
    assert unit.row["family"] == "Second"


def test_a_deletion_by_key_alone_ends_what_is_on_account_and_nothing_newer(opened: Door) -> None:
    opened.send("/events/patients", patient("P1", START), key="a")
    opened.send("/events/patients?deleted=true", {"id": "P1"}, key="b")
    (gone,) = opened.manifest.pending_units("patients")
    assert gone.deleted
    assert gone.row == patient("P1", START)  # what names the resource to delete
    opened.send("/events/patients", patient("P1", START, family="Late"), key="c")
    assert opened.manifest.pending_units("patients")[0].deleted
    opened.send("/events/patients", patient("P1", LATER, family="Back"), key="d")
    assert not opened.manifest.pending_units("patients")[0].deleted


def test_without_a_change_time_the_order_of_arrival_counts(opened: Door) -> None:
    """Organizations have no cursor: what a service says last is what it has."""
    opened.send("/events/organizations", {"id": "O1", "name": "Old"}, key="a")
    opened.send("/events/organizations", {"id": "O1", "name": "New"}, key="b")
    opened.send("/events/organizations?deleted=true", {"id": "O2"}, key="c")
    opened.send("/events/organizations", {"id": "O2", "name": "Back"}, key="d")
    found = {each.key: each for each in opened.manifest.pending_units("organizations")}
    assert found["O1"].row["name"] == "New"
    assert not found["O2"].deleted


def test_a_resource_is_the_unit_of_its_identifier(opened: Door) -> None:
    told = opened.send("/fhir/Patient", fhir_patient("P1", START))
    assert told.body["landed"] == NOTHING | {"new": 1}
    assert set(rows(opened.manifest, "fhir/Patient")) == {"P1"}


def test_last_modified_stands_in_for_a_change_time_and_makes_a_version_of_the_same_content(
    opened: Door,
) -> None:
    for key, moment in (("a", START), ("b", LATER)):
        told = opened.send(
            "/fhir/Patient", fhir_patient("P1", None), key=key, Last_Modified=moment.isoformat()
        )
        assert told.status == HTTPStatus.ACCEPTED
    older = opened.send(
        "/fhir/Patient",
        fhir_patient("P1", None, gender="male"),
        key="c",
        Last_Modified="Thu, 01 Jan 2026 09:00:00 GMT",
    )
    assert older.body["landed"] == NOTHING | {"stale": 1}


def test_a_row_the_puller_would_hold_is_held_and_said(opened: Door) -> None:
    told = opened.send("/events/patients", [{"updated_at": START.isoformat(), "family": "Roe"}])
    assert told.body["landed"]["quarantined"] == 1
    assert opened.manifest.balances()["patients"].by_state[State.QUARANTINED] == 1


REFUSED: list[tuple[int, str, Any, dict[str, Any]]] = [
    (401, "/events/patients", {}, {"token": None}),
    (401, "/events/patients", {}, {"token": "wrong-0123456789abcdef"}),
    (401, "/events/patients", {}, {"Authorization": "Basic eDp5"}),
    (403, "/events/patients", {"id": "P1"}, {"token": LIMITED}),
    (403, "/events/nothing", {"id": "P1"}, {"token": LIMITED}),
    (403, "/fhir/Patient", {"id": "P1"}, {"token": LIMITED}),
    (404, "/events/nothing", {"id": "P1"}, {}),
    (404, "/fhir/Basic", {"resourceType": "Basic"}, {}),
    (404, "/elsewhere", {}, {}),
    (400, "/events/patients", b"{'id': 1}", {}),
    (400, "/events/patients", b"", {}),
    (400, "/events/patients", b"[" * 5_000, {}),
    (400, "/events/patients", "P1", {}),
    (400, "/events/patients", [], {}),
    (400, "/events/patients", [{"id": "P1"}, 3], {}),
    (400, "/events/patients", {"id": "P1"}, {"key": None}),
    (400, "/events/patients", {"id": "P1"}, {"key": "x" * 201}),
    (400, "/events/patients?deleted=maybe", {"id": "P1"}, {}),
    (400, "/events/patients", {"id": "P1"}, {"Last_Modified": "yesterday"}),
    (400, "/fhir/Patient", [{"resourceType": "Patient"}], {}),
    (413, "/events/patients", {"id": "P1", "note": "x" * 20_000}, {}),
    (413, "/events/patients", [{}] * 1_001, {}),
    (415, "/events/patients", {"id": "P1"}, {"Content_Type": "text/plain"}),
    (415, "/events/patients", {"id": "P1"}, {"Content_Encoding": "gzip"}),
    (422, "/events/patients", {"id": "P1"}, {}),
    (422, "/events/patients", {"id": "P1", "updated_at": "soon"}, {}),
    (422, "/fhir/Patient", {"resourceType": "Organization"}, {}),
    (422, "/fhir/Patient", fhir_patient("P1", None), {}),
    (422, "/fhir/Patient", fhir_patient(" P1", START), {}),
    (422, "/fhir/Patient", fhir_patient("P1", NOW + timedelta(days=1)), {}),
    (422, "/fhir/Patient", {"resourceType": "Patient", "meta": {"lastUpdated": "x"}}, {}),
]  # fmt: skip


def test_what_cannot_be_taken_is_refused_with_its_status_and_leaves_nothing(
    account: Manifest, clock: Clock
) -> None:
    with door(account, clock=clock, max_bytes=10_000) as opened:
        for status, path, content, how in REFUSED:
            told = opened.send(path, content, **how)
            assert told.status == status, (path, content, how, told)
            assert told.body["error"]
        assert opened.ask("GET", "/events/patients").status == HTTPStatus.METHOD_NOT_ALLOWED
        assert opened.ask("GET", "/healthz").body == {"takes_events": True}
    assert account.balances() == {}
    assert account.inbox.taken() == []


def test_a_body_that_does_not_come_is_not_waited_for(account: Manifest, clock: Clock) -> None:
    with door(account, clock=clock, body_seconds=0.05) as opened:
        headers = {
            "Authorization": "Bearer all-streams-0123456789",
            "Content-Type": "application/json",
            "Idempotency-Key": "a",
            "Content-Length": "100",
        }
        assert opened.ask("POST", "/events/patients", b"{", headers).status == 408


def test_the_same_event_sent_many_times_at_once_lands_once(opened: Door) -> None:
    told: list[tuple[int, bool]] = []

    def send() -> None:
        answer = opened.send("/events/patients", patient("P1", START))
        told.append((answer.status, answer.body["replayed"]))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(told) == [(202, False)] + [(202, True)] * 7
    assert opened.manifest.balances()["patients"].eligible == 1
    (taken,) = opened.manifest.inbox.taken()
    assert (taken.service, taken.stream, taken.events) == ("scheduling", "patients", 1)
    assert plain(taken.landed) == NOTHING | {"new": 1}


def test_phases_that_do_not_deliver_are_said_in_the_answer(account: Manifest, clock: Clock) -> None:
    with door(account, clock=clock, adoption='Patient = "write"') as opened:
        told = opened.send("/events/patients", patient("P1", START), key="a")
        assert "Medplum owns it" in told.body["waits"]
        told = opened.send("/events/organizations", {"id": "O1"}, key="b")
        assert "rehearse" in told.body["waits"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "updated_at", "resourceType", "identifier", "meta", "system"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def test_no_body_makes_the_inbox_fail(account: Manifest, clock: Clock) -> None:
    """Whatever comes is taken, held or refused, and nothing of it is in an answer."""
    with door(account, clock=clock) as opened:
        numbers = iter(range(10_000))

        @settings(max_examples=40, suppress_health_check=list(HealthCheck))
        @given(
            st.sampled_from(["/events/patients", "/fhir/Patient", "/events/patients?deleted=true"]),
            st.binary(max_size=40) | JSON.map(lambda each: json.dumps(each).encode()),
        )
        def sent(path: str, body: bytes) -> None:
            told = opened.send(path, body, key=str(next(numbers)))
            assert told.status in {202, 400, 413, 422}

        sent()
    assert all(each.holds for each in account.balances().values())


def test_an_event_is_known_again_after_its_key_was_exchanged(
    manifest_url: str, clock: Clock
) -> None:
    """Without a bare hash of what it held on account: few values are guessed in seconds."""
    clock.now = NOW
    old, new = new_key(), new_key()
    for keys in ((old,), (new, old), (new,)):
        with (
            closing(Manifest(manifest_url, clock=clock, keys=keys)) as manifest,
            door(manifest, clock=clock) as opened,
        ):
            told = opened.send("/events/patients", patient("P1", START))
            assert (told.status, told.body["replayed"]) == (202, keys != (old,))
            if len(keys) == 2:
                kept = manifest.protection
                rotate(kept.rotation, kept.custody, by="ann", told=lambda _rows: None)


def test_a_mistake_of_ours_says_nothing_of_the_event(
    account: Manifest,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def trip(*_given: Any, **_named: Any) -> None:
        raise RuntimeError("no such person: CANARY-Roe")

    monkeypatch.setattr(account.inbox, "accept", trip)
    with door(account, clock=clock) as opened:
        told = opened.send("/events/patients", patient("P1", START))
    assert told.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "RuntimeError" in caplog.text
    assert "CANARY" not in caplog.text + str(told)
