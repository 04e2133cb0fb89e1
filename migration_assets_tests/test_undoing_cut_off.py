"""An undo that dies between writing down, sending and settling: nothing is lost, nothing doubled.

Medplum then holds something else than what the account last heard of. A unit that still counted as
migrated, with its old fingerprint, would be found unchanged by the next window and never be sent.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Transient
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.dead_letters import Choice, Decision, Selection
from migration_assets.medplum import MedplumClient
from migration_assets.operations.redelivering import redeliver
from migration_assets.operations.undoing import Desk, Undone, undo
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Window
from migration_assets.sweeping import sweep
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.delivery.cut_off import Crash, Doom, Mortal, MortalFhir
from migration_assets_tests.operations.test_undoing import BACKFILL, Clinic, reasons
from migration_assets_tests.scripted import NOW, PATIENTS

BEFORE = {"P1": "Before", "P2": "Before"}
AFTER = {"P1": "After", "P3": "Doe"}
POINTS = [
    *((method, 1, after) for method in ("intend", "settle") for after in (False, True)),
    *(("write", at, after) for at in (1, 2, 3) for after in (False, True)),
    ("settle", 2, False),
    ("settle", 3, True),
]
CASES = [
    *(("sqlite", each) for each in POINTS),
    *(
        ("postgres", each)
        for each in [("intend", 1, True), ("write", 2, True), ("settle", 2, False)]
    ),
]
_everywhere = pytest.mark.parametrize(
    ("manifest_url", "point"), CASES, indirect=["manifest_url"], ids=str
)


@pytest.fixture
def clinic(
    running: Sandbox, manifest_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Clinic]:
    """Run 2 changed P1, deleted P2 and created P3; every entry travels in a bundle of its own."""
    monkeypatch.setattr("migration_assets.medplum.deliver.MAX_ENTRIES", 1)
    running.reset()
    clock.now = NOW
    account = Manifest(manifest_url, clock=clock)
    client = MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))
    made = Clinic(account, client)
    made.mappings = (PATIENTS,)
    for key in BEFORE:
        made.source.put("patients", key, family="Before")
    made.run()
    made.source.put("patients", "P1", at=10, family="After")
    made.source.delete("patients", "P2", at=10)
    made.source.put("patients", "P3", at=10)
    assert made.run() == 2
    assert made.held() == AFTER
    yield made
    client.close()
    account.close()


class _Writes(MortalFhir):
    """Only bundles that write are counted; a history is read by one, too."""

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        if b"_history" in body:
            return self._behind.post_bundle(body, entries)  # type: ignore[no-any-return]
        return self._answer("write", lambda: self._behind.post_bundle(body, entries))


class _Account(Mortal):
    """The account, whose record of an undo may be cut off."""

    @property
    def history(self) -> Any:
        return Mortal(self._behind.history, self._doom)


def _undo(clinic: Clinic, doom: Doom, fhir: Any = None) -> Undone:
    desk = Desk(
        manifest=_Account(clinic.account, doom),  # type: ignore[arg-type]  # stands before it
        fhir=fhir or _Writes(clinic.client, doom),
        adoption=read_adoption(BACKFILL),
        mappings={"Patient": PATIENTS},
        deadline_seconds=30,
        run_id=clinic.account.start_run("undo", pipeline_version="0"),
    )
    return undo(desk, clinic.account.history.runs_called("2"))


def _cut_off(clinic: Clinic, point: tuple[str, int, bool]) -> None:
    with pytest.raises(Crash):
        _undo(clinic, Doom(*point))


def _run(clinic: Clinic) -> Run:
    return Run(
        id=clinic.account.start_run("test", pipeline_version="0"),
        label="test",
        manifest=clinic.account,
        puller=clinic.source,
        adoption=read_adoption(BACKFILL),
        fhir=clinic.client,
        deadline_seconds=30,
    )


def _explained(clinic: Clinic) -> None:
    """What counts as settled is in Medplum as the row says; the rest is held for a person."""
    held = clinic.held()
    assert len(clinic.client.search("Patient", {})) == len(held)
    listed = clinic.account.remapping.on_account("patients", ["P1", "P2", "P3"])
    for key, each in listed.items():
        if (each.state, each.reason) != (State.QUARANTINED, "undone"):
            assert each.state in (State.MIGRATED, State.UNCHANGED)
            assert held.get(key) == AFTER.get(key), key
    clinic.states()


@pytest.mark.sandbox
@_everywhere
def test_the_next_undo_of_the_run_completes_one_that_was_cut_off(
    clinic: Clinic, point: tuple[str, int, bool]
) -> None:
    _cut_off(clinic, point)
    clinic.run()  # a pull in between sends nothing of it
    _explained(clinic)
    rest = _undo(clinic, Doom())
    assert not rest.refused
    assert clinic.held() == BEFORE
    assert clinic.states() == {State.QUARANTINED: 3}


@pytest.mark.sandbox
@_everywhere
def test_whoever_gives_up_an_undo_that_was_cut_off_has_every_record_again(
    clinic: Clinic, point: tuple[str, int, bool]
) -> None:
    """Redelivered, each is as its row says, under the id it had; a sweep finds nothing amiss."""
    first = {each["id"] for each in clinic.client.search("Patient", {})}
    _cut_off(clinic, point)
    sweep(_run(clinic), PATIENTS, allow_missing=9)
    clinic.run()
    _explained(clinic)
    again = _run(clinic)
    said = Decision(by="a person", choice=Choice.REDELIVER)
    redeliver(again, (PATIENTS,), Selection(states=(State.QUARANTINED,)), said)
    migrate(again, PATIENTS)
    assert clinic.held() == AFTER
    assert {each["id"] for each in clinic.client.search("Patient", {})} == first
    assert State.QUARANTINED not in clinic.states()


class _EditsFirst(MortalFhir):
    """Somebody edits P1 between our look and our first write."""

    def __init__(self, clinic: Clinic) -> None:
        super().__init__(clinic.client, Doom())
        self._clinic = clinic
        self._edited = False

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        if b"_history" not in body and not self._edited:
            self._edited = True
            self._clinic.edit("Patient", "P1", gender="female")
        return super().post_bundle(body, entries)


@pytest.mark.sandbox
def test_what_was_refused_after_all_stands_as_it_did(clinic: Clinic) -> None:
    """Its row came through; that its undoing was about to be tried says nothing against it."""
    before = clinic.account.remapping.on_account("patients", ["P1"])["P1"]
    undone = _undo(clinic, Doom(), _EditsFirst(clinic))
    assert reasons(undone) == {"edited-in-medplum": 1}
    assert clinic.account.remapping.on_account("patients", ["P1"])["P1"] == before
    assert clinic.states() == {State.MIGRATED: 1, State.QUARANTINED: 2}


class _LandsFirst(_EditsFirst):
    """And the source serves a newer row just then."""

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        if b"_history" not in body and not self._edited:
            self._clinic.source.put("patients", "P1", at=20, family="Newer")
            land(_run(self._clinic), PATIENTS, Window(None, None))
        return super().post_bundle(body, entries)


@pytest.mark.sandbox
def test_a_row_that_came_while_its_undo_was_refused_is_owed(clinic: Clinic) -> None:
    undone = _undo(clinic, Doom(), _LandsFirst(clinic))
    assert reasons(undone) == {"edited-in-medplum": 1}
    assert clinic.states() == {State.PENDING: 1, State.QUARANTINED: 2}


@pytest.mark.sandbox
def test_whoever_slept_through_a_take_over_undoes_nothing_on_account(
    clinic: Clinic, clock: Clock
) -> None:
    """Asleep between writing down and sending: the new holder redelivered meanwhile."""

    class Sleeps(MortalFhir):
        slept = False

        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            if b"_history" not in body and not self.slept:
                self.slept = True
                clock.now += timedelta(hours=1)
                said = Decision(by="a person", choice=Choice.REDELIVER)
                clinic.account.decisions.redeliver(Selection(reason="undone"), said)
                clinic.run()
                assert clinic.held() == AFTER
            return super().post_bundle(body, entries)

    with pytest.raises(Transient, match="took over"):
        _undo(clinic, Doom(), Sleeps(clinic.client, Doom()))
    clinic.run()
    assert clinic.held() == AFTER
    assert State.QUARANTINED not in clinic.states()
