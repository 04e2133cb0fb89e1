"""Write-back that is cut off, lied to or not answered: nothing is doubled, nothing is lost.

One world for all of it: what is written later is another value, so each time is told apart.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.writing import RowWriter
from migration_assets.manifest.write_back_ends import WriteBack
from migration_assets_tests.demo.founding import rows
from migration_assets_tests.write_back.world import World, phone

ONE_WRITTEN = Counter({WriteBack.WRITTEN: 1})
_LONGER_THAN_A_RUN = 60
_LIES = (
    (["lie"], 2),
    (["fail"], 2),
    (["fail-after"], 1),
    (["drop"], 1),
    (["lose", "drop"], 2),
    (["unavailable", "throttle", "lie"], 4),
)
"""What goes wrong, and how often the edit is sent."""
_THAT_SECOND = datetime(2026, 12, 1, tzinfo=UTC)


class Killed(BaseException):
    """The process is gone."""


class Fuse:
    """Ends the process before the n-th step that leaves a trace somewhere."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.met = ""

    def guarding(self, parts: Any, names: tuple[str, ...], patch: pytest.MonkeyPatch) -> None:
        """Have these methods of an object or a class count as steps."""
        for name in names:
            patch.setattr(parts, name, self._counted(getattr(parts, name), name))

    def _counted(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.met = name
                raise Killed
            return method(*given, **named)

        return step


def test_cut_off_before_any_step_it_goes_on_and_doubles_nothing(
    one_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every edit arrives, the new patient once, with the identifier of that one row."""
    world, met = one_world, set()
    for step in range(1, _LONGER_THAN_A_RUN):
        name = f"cut-off-{step}"
        world.edit(phone(name))
        fhir_id = world.create({"resourceType": "Patient", "name": [{"family": name}]})
        with monkeypatch.context() as patch:
            fuse = Fuse(step)
            fuse.guarding(world.account.write_backs, ("note", "sending", "keyed", "settle"), patch)
            fuse.guarding(RowWriter, ("write", "create", "read"), patch)
            fuse.guarding(world.client, ("post_bundle",), patch)
            try:
                world.back()
            except Killed:
                met.add(fuse.met)
        world.back()
        made = [
            row for row in rows(world.clinic, "patients", limit=1000) if row["last_name"] == name
        ]
        assert len(made) == 1, step
        assert (world.row() or {})["phone"] == name, step
        held = world.resource(made[0]["patient_id"])
        assert (held["id"], len(held["identifier"])) == (fhir_id, 1), step
        if not fuse.met:
            break
    assert met == {
        "note", "sending", "keyed", "settle", "write", "create", "read", "post_bundle"
    }  # fmt: skip
    assert world.account.write_backs.counts(["Patient"]) == {
        "Patient": {WriteBack.WRITTEN: 2 * step}
    }
    assert world.account.write_backs.open(["Patient"]) == 0


def test_an_answer_proves_nothing_the_row_does(one_world: World) -> None:
    for number, (faults, attempts) in enumerate(_LIES):
        one_world.edit(phone(f"+{number}"))
        one_world.clinic.fail_writes(*faults, "none", "refuse")  # one too many would be refused
        assert one_world.back().ended == ONE_WRITTEN, faults
        assert (one_world.row() or {})["phone"] == f"+{number}", faults
        assert one_world.debts()[-1].attempts == attempts, faults


def test_a_legacy_system_that_takes_nothing_leaves_the_debt_open(one_world: World) -> None:
    one_world.edit(phone("+1"))
    one_world.clinic.fail_writes(*["unavailable"] * 4)
    assert one_world.back().ended == {WriteBack.OPEN: 1}
    assert one_world.debts()[0].reason == "not-taken"
    assert one_world.back().ended == ONE_WRITTEN


def test_an_edit_between_our_look_and_our_write_is_a_conflict(
    one_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_world.edit(phone("ours"))
    write = RowWriter.write

    def late(*given: Any) -> Any:
        one_world.at_the_desk(first_name="Just now")
        return write(*given)

    monkeypatch.setattr(RowWriter, "write", late)
    assert one_world.back().ended == {WriteBack.CONFLICT: 1}
    assert (one_world.row() or {})["first_name"] == "Just now"


def test_a_new_resource_gets_its_identifier_whatever_medplum_answers(
    one_world: World, running: Sandbox
) -> None:
    for wrong in (Wrong.THROTTLED, Wrong.DROP, Wrong.EDITED, Wrong.WRITE_FAILED):
        fhir_id = one_world.create({"resourceType": "Patient", "name": [{"family": "New"}]})
        before = one_world.clinic.counts()["patients"]
        running.misbehave(Fault(wrong, at=(2,), on="bundles"))  # the first reads its history
        for _ in range(3):
            try:
                one_world.back()
            except Transient:
                continue
            finally:
                running.behave()
        assert one_world.clinic.counts()["patients"] == before + 1, wrong
        assert one_world.account.write_backs.open(["Patient"]) == 0, wrong
        first = next(each for each in one_world.debts() if each.fhir_id == fhir_id)
        assert len(one_world.resource(str(first.key))["identifier"]) == 1, wrong


def test_an_edit_that_may_have_arrived_is_settled_before_the_deletion_after_it(
    one_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else our own write would look like somebody's edit of what is to be deleted."""
    one_world.edit(phone("+1"))
    with monkeypatch.context() as patch:
        patch.setattr(one_world.account.write_backs, "settle", _killed)
        with pytest.raises(Killed):
            one_world.back()
    one_world.remove()
    assert one_world.back().ended == {WriteBack.WRITTEN: 2}
    assert one_world.row() is None


def _killed(*_given: Any, **_named: Any) -> None:
    raise Killed


def test_two_edits_of_one_tick_of_the_source_are_two_rows_one_after_the_other(
    one_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that tells time by the second: the second write looks like a collision."""
    read = RowWriter.read

    def coarse(*given: Any) -> Any:
        lies = read(*given)
        row = None if lies.row is None else replace(lies.row, changed_at=_THAT_SECOND)
        return replace(lies, row=row)

    monkeypatch.setattr(RowWriter, "read", coarse)
    monkeypatch.setattr(one_world.account, "start_run", lambda *_g, **_n: 77)
    for number in ("1", "2"):
        one_world.edit(phone(number))
        assert one_world.back().ended == ONE_WRITTEN
    assert one_world.account.exceptions("patients") == []
    (unit,) = one_world.account.landed_units("patients", limit=1, keys=["P1"])
    assert unit.row["phone"] == "2"


def test_where_no_row_is_found_by_its_key_nothing_counts_as_deleted(one_world: World) -> None:
    """A path that is wrong answers 404 for everybody."""
    one_world.remove()
    one_world.edit(phone("1"), "P2")
    with pytest.raises(Permanent, match=r"write\.path"):
        one_world.back(path="api/{stream}/by-key/{id}")
    assert one_world.back().ended == {WriteBack.WRITTEN: 2}
