"""Flags: a front end never writes where the puller writes over it."""

import json

import pytest

from migration_assets.adoption import Phase, read_adoption
from migration_assets.adoption.flags import as_basic, as_json, flags
from migration_assets.fhir.validation import problems


@pytest.mark.parametrize(
    ("phase", "read", "write", "both"),
    [
        ("rehearse", "legacy", "legacy", False),
        ("dual_write", "legacy", "legacy", True),
        ("backfill", "legacy", "legacy", True),
        ("read", "medplum", "legacy", True),
        ("write", "medplum", "medplum", False),
        ("retired", "medplum", "medplum", False),
    ],
)
def test_each_phase_says_which_system_to_read_and_to_write(
    phase: str, read: str, write: str, both: bool
) -> None:
    adoption = read_adoption(f'Patient = "{phase}"')
    assert flags(adoption, ["Patient"])["types"]["Patient"] == {
        "phase": phase, "read": read, "write": write, "dual_write": both,
    }  # fmt: skip
    delivered = adoption.standing("Patient").may_deliver
    assert not (delivered and write == "medplum")


def test_services_are_not_told_to_write_beside_the_only_writer() -> None:
    adoption = read_adoption('[Patient]\nphase = "backfill"\nstrategy = "exclusive"')
    assert flags(adoption, ["Patient"])["types"]["Patient"]["dual_write"] is False


def test_the_published_resource_is_valid_and_the_same_for_the_same_phases() -> None:
    """A time in it would make a version with each publication."""
    adoption = read_adoption('Patient = "read"').with_phase(["Encounter"], Phase.WRITE)
    told = flags(adoption, ["Patient", "Encounter", "Patient"])
    basic = as_basic(told)
    assert not problems(basic)
    assert json.loads(basic["extension"][0]["valueString"]) == told
    assert as_json(told) == as_json(flags(adoption, ["Encounter", "Patient"]))
