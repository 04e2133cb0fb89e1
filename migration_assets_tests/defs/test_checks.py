"""Checks as claims: green is proved, red says what mends it, and what it says mends it."""

import dagster as dg
import pytest

from migration_assets_tests.defs.small_clinic import (
    BAD,
    SmallClinic,
    checked,
    commands,
    numbers,
)

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
WARD = """
from typing import Any

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.mapping import Mapping, Row, Step


class Ward(Row):
    id: str
    name: str | None = None


def ward(row: Ward) -> dict[str, Any]:
    number = {{"system": identifier_system("Location"), "value": row.id}}
    return {{"resourceType": "Location", "identifier": [number], "name": {name}}}


MAPPING = Mapping(
    stream="wards", row=Ward, resource_type="Location", build=ward, version="1.0.0",
    step=Step.ORGANIZATIONS,
    examples=({{"id": "W1", "name": "One"}},),
)
"""


def test_pending_rows_are_told_and_settled_by_the_command_that_is_named(
    clinic: SmallClinic,
) -> None:
    """A subset leaves the others on purpose: no alarm, and not green either."""
    check = checked(clinic.run(limit=1), "Patient", "every_row_accounted_for")
    assert (check.passed, check.severity) == (False, WARN)
    assert numbers(check.metadata)["pending"] == 2
    (command,) = commands(check)
    clinic.say(command)
    check = checked(clinic.run(), "Patient", "every_row_accounted_for")
    assert check.passed
    assert check.metadata["recovery"].value == "none needed"


@pytest.mark.parametrize("why", ["rehearse", "dry run", "no medplum"])
def test_where_nothing_was_delivered_no_check_is_green_and_none_alarms(
    clinic: SmallClinic, why: str
) -> None:
    """Green in a rehearsal would be read as: the patients are in Medplum."""
    if why == "rehearse":
        clinic.phases(Patient="rehearse", Organization="rehearse")
    if why == "no medplum":
        for name in ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET"):
            clinic.monkeypatch.delenv(f"MEDPLUM_{name}")
    result = clinic.run(dry_run=why == "dry run")
    assert result.success
    check = checked(result, "Patient", "every_row_accounted_for")
    assert (check.passed, check.severity) == (False, WARN)
    assert str(check.description).startswith("Nothing is claimed")


def test_of_a_type_that_medplum_owns_a_whole_account_is_not_called_proof(
    clinic: SmallClinic,
) -> None:
    """Nobody asks the legacy system any more: what is written there since is on no account."""
    assert checked(clinic.run(), "Patient", "every_row_accounted_for").passed
    clinic.phases(Patient="write")
    clinic.patient("P9")
    check = checked(clinic.run(), "Patient", "every_row_accounted_for")
    assert (check.passed, check.severity) == (False, WARN)
    assert "phase is write: Medplum owns this type" in str(check.description)
    assert numbers(check.metadata)["pending"] == 0


def test_too_many_exceptions_are_told_by_reason_and_gone_after_the_commands_that_are_named(
    clinic: SmallClinic,
) -> None:
    folders = [clinic.folder / name for name in ("broken", "mended")]
    for folder, name in zip(folders, ("row.name.upper()", "row.name or row.id"), strict=True):
        folder.mkdir()
        (folder / "ward.py").write_text(WARD.format(name=name))
    clinic.types = ("Location",)
    clinic.phases()
    clinic.setting("MIGRATION_MAPPINGS", folders[0])
    clinic.clinic.put("wards", "W1", {"id": "W1", "name": "One"})
    for key in ("W2", "W3"):
        clinic.clinic.put("wards", key, {"id": key, "name": None})
    check = checked(clinic.run(), "Location", "exceptions_below_threshold")
    assert (check.passed, check.severity) == (False, ERROR)
    told = numbers(check.metadata)
    assert (told["exceptions"], told["rows"], told["reason/mapping-error"]) == (2, 3, 2)
    clinic.setting("MIGRATION_MAPPINGS", folders[1])
    look, again = commands(check)
    assert "mapping-error" in clinic.say(look)
    clinic.say(again)
    check = checked(clinic.run(), "Location", "exceptions_below_threshold")
    assert check.passed
    assert numbers(check.metadata)["exceptions"] == 0


def test_what_a_person_accepted_is_no_exception_any_more(clinic: SmallClinic) -> None:
    clinic.patient("P2", **BAD)
    assert not checked(clinic.run(), "Patient", "exceptions_below_threshold").passed
    clinic.say("migration assign P2 --type Patient --decision accept --approver somebody")
    assert checked(clinic.run(), "Patient", "exceptions_below_threshold").passed


def test_as_many_exceptions_as_are_allowed_alarm_nobody(clinic: SmallClinic) -> None:
    clinic.setting("MIGRATION_EXCEPTIONS_SHARE", 0.34)
    clinic.patient("P2", **BAD)
    check = checked(clinic.run(), "Patient", "exceptions_below_threshold")
    assert check.passed
    assert numbers(check.metadata)["reason/unmapped-code"] == 1
