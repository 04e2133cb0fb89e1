"""The audit of what services send: an event agrees once the puller has read the same."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.adoption.gates import Discrepancy
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.switching.audit import audit, only_sent
from migration_assets_tests.conftest import Clock
from migration_assets_tests.inbox.test_handing_over import ADOPTION, House, opened_house
from migration_assets_tests.scripted import START


@pytest.fixture
def house(running: Sandbox, tmp_path: Path, clock: Clock) -> Iterator[House]:
    with opened_house(running, tmp_path, clock) as made:
        yield made


def found(house: House, since: datetime = START) -> dict[str, int]:
    """What the audit counts, without what it does not."""
    told = audit(house.manifest, house.client, read_adoption(ADOPTION), house.patients, since=since)
    assert isinstance(told, Discrepancy)
    names = ("agreed", "missed", "different", "left_out", "unknown")
    return {name: getattr(told, name) for name in names if getattr(told, name)}


def test_an_event_of_a_row_agrees_once_the_puller_has_read_the_same(house: House) -> None:
    house.native("P1", at=10, family="Roe")
    house.deliver(fhir=False)
    assert found(house) == {"unknown": 1}  # nobody but the service says so yet
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    house.deliver(fhir=False)
    assert found(house) == {"agreed": 1}


def test_an_event_that_the_puller_was_faster_than_agrees(house: House) -> None:
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    house.deliver(fhir=False)
    assert found(house) == {"missed": 1}
    house.native("P1", at=10, family="Roe")
    assert found(house) == {"agreed": 1}


def test_an_event_that_said_something_else_differs_and_what_came_to_the_same_agrees(
    house: House, clock: Clock
) -> None:
    """The row may look otherwise in an event: what counts is what becomes of it."""
    house.native("P1", at=10, family="Wrong")
    house.native("P2", at=10, family="Roe", noise=1)
    house.deliver(fhir=False)
    clock.now += timedelta(seconds=5)
    house.source.put("patients", "P1", at=10, family="Roe")
    house.source.put("patients", "P2", at=10, family="Roe")
    house.pull()
    house.deliver(fhir=False)
    assert found(house) == {"different": 1, "agreed": 1}


def test_an_old_event_does_not_stand_for_the_row_that_came_after_it(house: House) -> None:
    house.source.put("patients", "P1", at=20, family="New")
    house.pull()
    house.deliver(fhir=False)
    house.native("P1", at=10, family="Old")
    assert found(house) == {"missed": 1}


@pytest.mark.parametrize("service_first", [True, False])
def test_fhir_that_says_what_the_row_says_agrees_whoever_was_faster(
    house: House, service_first: bool
) -> None:
    house.source.put("patients", "P1", at=10, family="Roe")
    house.say("Roe", at=11)
    for fhir in (service_first, not service_first):
        if not fhir:
            house.pull()
        house.deliver(fhir=fhir)
    assert found(house) == {"agreed": 1}


@pytest.mark.parametrize("fhir_at", [5, 30])
def test_fhir_that_says_something_else_differs_newer_or_older(house: House, fhir_at: int) -> None:
    house.source.put("patients", "P1", at=10, family="Roe")
    house.say("Somebody", at=fhir_at)
    house.deliver(fhir=True)
    house.pull()
    house.deliver(fhir=False)
    assert found(house) == {"different": 1}


def test_what_was_sent_and_never_shown_by_the_legacy_system_is_listed(house: House) -> None:
    house.say("Roe", at=10)
    house.deliver(fhir=True)
    assert found(house) == {}
    assert list(only_sent(house.manifest, house.patients, since=START)) == [("Patient", "P1")]
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    later = START + timedelta(seconds=1)
    assert list(only_sent(house.manifest, house.patients, since=later)) == []
