"""What write-back tells and keeps: never a value; and rows that retention let go of."""

from pathlib import Path
from typing import Any

import pytest

from migration_assets.demo.clinic_server import Clinic
from migration_assets.errors import MigrationError
from migration_assets.manifest import Manifest
from migration_assets.manifest.sealing import new_key
from migration_assets.manifest.write_back_ends import Choice, WriteBack
from migration_assets.medplum import MedplumClient
from migration_assets.operations.purging import purge
from migration_assets.retention import read_policy
from migration_assets_tests.canary.listening import Heard, leaks_in_files, leaks_of, listening
from migration_assets_tests.canary.people import NAME, NOTE, NUMBER, PHONE, STREET
from migration_assets_tests.write_back.world import PATIENT, World, named, now, phone


def test_no_value_of_an_edit_is_logged_told_or_kept_in_the_clear(
    desk: tuple[Clinic, Path], client: MedplumClient, tmp_path: Path
) -> None:
    """Ids and keys are; what stands in a row or a resource is not."""
    account = Manifest(f"sqlite:///{tmp_path / 'sealed.db'}", clock=now, keys=[new_key()])
    heard, told = Heard(), []
    with listening(heard, tmp_path / "streams"):
        world = World(*desk, client, account).migrated()
        world.edit(lambda held: {**phone(PHONE)(held), "gender": NUMBER})
        world.back()
        world.edit(lambda held: {**held, "gender": "female", "extension": [_extension()]})
        world.edit(phone(PHONE), "P2")
        world.at_the_desk("P2", address_line=STREET)
        world.create({"resourceType": "Patient", "name": [{"family": NAME}]})
        world.back()
        world.decide(Choice.MEDPLUM)
        world.edit(lambda held: {**held, "extension": []})
        for faults in (["drop"], ["refuse"], ["fail", "lie", "throttle", "unavailable"]):
            world.edit(named(f"{NAME} {faults[0]}"))
            world.clinic.fail_writes(*faults)
            world.back()
        world.environ["MIGRATION_LEGACY_API_KEY"] = "wrong"
        world.edit(named(f"{NAME} again"))
        told.append(_error_of(world))
    told += [repr(each) for each in world.debts()]
    reasons = {each.reason for each in world.debts()}
    account.close()
    assert {None, "superseded", "not-taken"} <= reasons
    assert "urllib3.connectionpool" in heard.loggers
    assert leaks_of("log", heard.log.getvalue().encode()) == []
    assert leaks_of("streams", heard.streams) == []
    assert leaks_of("told", " ".join(told).encode()) == []
    assert leaks_in_files(tmp_path, "*.db*") == []


def _extension() -> dict[str, Any]:
    return {"url": "http://x.example/note", "valueString": NOTE}


def _error_of(world: World) -> str:
    with pytest.raises(MigrationError) as refused:
        world.back()
    return str(refused.value)


@pytest.mark.parametrize("edited", [False, True])
def test_a_row_that_retention_let_go_of_is_known_by_its_hash(
    one_world: World, edited: bool
) -> None:
    purge(one_world.account, read_policy("until_migrated"), now(), by="test")
    one_world.edit(phone("2"))
    if edited:
        one_world.at_the_desk(first_name="Theirs")
    ended = WriteBack.REFUSED if edited else WriteBack.WRITTEN
    assert one_world.back().ended == {ended: 1}
    changed = {"first_name": "Theirs"} if edited else {"phone": "2"}
    assert one_world.row() == {**PATIENT, **changed}
