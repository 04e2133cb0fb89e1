"""Changing a phase: nobody writes meanwhile, nobody writes afterwards, nothing is half done."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from migration_assets.adoption import Authority, Phase, Standing, read_adoption
from migration_assets.adoption.gates import Bounds, Evidence
from migration_assets.errors import Busy, Permanent, Transient
from migration_assets.manifest import Manifest
from migration_assets.mappings import discover
from migration_assets.operations.undoing import Desk, undo
from migration_assets.pipeline import migrate
from migration_assets.switching.changing import Move, carry_out, move, refuse, replace_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import NOW, PATIENTS

ENCOUNTERS = discover()["Encounter"]
TEXT = '# ours\nEncounter = "read" # since May\nClinicalImpression = "read"\n'


def _asked(becomes: Phase, mapping: Any = ENCOUNTERS, **standing: Any) -> Move:
    known = Standing(Phase.READ, **standing)
    return move(mapping, known, becomes, Evidence(now=NOW, since=None), Bounds())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "adoption.toml"
    file.write_text(TEXT, encoding="utf-8")
    file.chmod(0o640)
    return file


def _carry_out(manifest: Manifest, path: Path, asked: Move) -> None:
    carry_out(manifest, path, asked, by="a person", forced=True, reason="agreed")


def test_types_of_one_group_move_together_and_both_are_on_record(
    manifest: Manifest, path: Path
) -> None:
    _carry_out(manifest, path, _asked(Phase.WRITE))
    assert path.read_text(encoding="utf-8") == TEXT.replace('"read"', '"write"')
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.glob(".adoption*")) == []
    kept = manifest.switching.changes()
    assert {(each.resource_type, each.was, each.becomes, each.by) for each in kept} == {
        ("Encounter", "read", "write", "a person"),
        ("ClinicalImpression", "read", "write", "a person"),
    }
    assert all(each.applied_at and each.forced and each.reason == "agreed" for each in kept)
    assert kept[0].evidence["points"][0]["holds"] is False


@pytest.mark.parametrize("writing", ["Encounter", "ClinicalImpression"])
def test_while_a_run_writes_one_of_the_types_nothing_is_moved(
    manifest: Manifest, path: Path, writing: str
) -> None:
    with manifest.lease(writing, "a run"), pytest.raises(Busy, match="a run"):
        _carry_out(manifest, path, _asked(Phase.WRITE))
    assert path.read_text(encoding="utf-8") == TEXT
    assert manifest.switching.changes() == []
    _carry_out(manifest, path, _asked(Phase.WRITE))


def test_a_file_that_was_changed_meanwhile_is_looked_at_again(
    manifest: Manifest, path: Path
) -> None:
    path.write_text(TEXT.replace("read", "retired"), encoding="utf-8")
    with pytest.raises(Permanent, match="changed meanwhile"):
        _carry_out(manifest, path, _asked(Phase.WRITE))
    assert manifest.switching.changes() == []


def test_a_change_that_is_cut_off_is_on_record_as_begun_and_not_as_made(
    manifest: Manifest, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(Permanent, match="No space left"):
            _carry_out(manifest, path, _asked(Phase.WRITE))
    assert path.read_text(encoding="utf-8") == TEXT
    assert list(path.parent.glob(".adoption*")) == []
    assert [each.applied_at for each in manifest.switching.changes()] == [None, None]
    assert manifest.switching.since("Encounter", "write") is None
    _carry_out(manifest, path, _asked(Phase.WRITE))
    assert manifest.switching.since("Encounter", "write") is not None


def test_a_run_that_waited_while_the_type_was_moved_writes_nothing_over_it(
    clinic: Clinic,
) -> None:
    """It read adoption.toml before the flip; what it would deliver, Medplum owns by now."""
    clinic.source.put("patients", "P1")
    late = clinic.land()
    clinic.clock.now += timedelta(minutes=1)
    clinic.account.switching.begin({"Patient": "read"}, "write", by="x", evidence={})
    with pytest.raises(Transient, match="moved to another phase"):
        migrate(late, PATIENTS)
    assert clinic.client.search("Patient", {}) == []
    clinic.migrate()
    assert len(clinic.client.search("Patient", {})) == 1


@pytest.mark.parametrize(
    ("becomes", "said"),
    [
        (Phase.WRITE, "may not leave read"),
        (Phase.RETIRED, "a jump over a phase. The next phase is write"),
        (Phase.BACKFILL, "a step back"),
    ],
)
def test_a_shut_gate_a_jump_and_a_step_back_are_refused_until_forced_with_a_reason(
    becomes: Phase, said: str
) -> None:
    asked = _asked(becomes)
    with pytest.raises(Permanent, match=said):
        refuse(asked, force=False, reason="because")
    for reason in (None, "  "):
        with pytest.raises(Permanent, match="needs a reason"):
            refuse(asked, force=True, reason=reason)
    refuse(asked, force=True, reason="agreed with the clinic")


def test_a_type_that_stands_there_already_is_not_moved_again() -> None:
    with pytest.raises(Permanent, match="already"):
        _asked(Phase.READ, authority=Authority.LEGACY)


def test_a_file_where_nothing_can_be_written_is_told_with_where_to_change_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(Permanent, match="ConfigMap"):
        replace_file(tmp_path / "nowhere" / "adoption.toml", "")


def test_a_link_to_the_file_stays_a_link(tmp_path: Path, path: Path, clock: Clock) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    replace_file(link, "x")
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == "x"


def test_an_undo_that_waited_while_the_type_was_moved_takes_nothing_back(clinic: Clinic) -> None:
    """What the run wrote may have been edited by people since the flip: it is theirs now."""
    clinic.people(1)
    wrote = clinic.account.history.latest_runs(1)
    number = clinic.account.start_run("undo", pipeline_version="0")
    clinic.clock.now += timedelta(minutes=1)
    clinic.account.switching.begin({"Patient": "read"}, "write", by="x", evidence={})
    desk = Desk(
        manifest=clinic.account,
        fhir=clinic.client,
        mappings={"Patient": PATIENTS},
        adoption=read_adoption('Patient = "read"'),
        deadline_seconds=9,
        run_id=number,
    )
    with pytest.raises(Transient, match="moved to another phase"):
        undo(desk, wrote)
    assert len(clinic.client.search("Patient", {})) == 1
