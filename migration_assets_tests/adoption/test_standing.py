"""Adoption: nothing is written for a type unless its entry says so."""

import pytest

from migration_assets.adoption import Authority, Phase, Standing, Strategy, read_adoption
from migration_assets.errors import Permanent


def test_a_type_that_is_not_named_is_never_written() -> None:
    standing = read_adoption('Patient = "backfill"').standing("Observation")
    assert standing == Standing(Phase.REHEARSE)
    assert not standing.may_deliver
    assert "rehearse" in standing.refusal


@pytest.mark.parametrize(
    ("phase", "pulls", "delivers"),
    [
        ("rehearse", True, False),
        ("dual_write", True, True),
        ("backfill", True, True),
        ("read", True, True),
        ("write", False, False),
        ("retired", False, False),
    ],
)
def test_each_phase_permits_what_the_design_says(phase: str, pulls: bool, delivers: bool) -> None:
    standing = read_adoption(f'Patient = "{phase}"').standing("Patient")
    assert (standing.may_pull, standing.may_deliver) == (pulls, delivers)
    assert bool(standing.refusal) is not delivers


def test_the_exclusive_strategy_must_be_declared() -> None:
    """A plain POST doubles what somebody else wrote: never by default."""
    adoption = read_adoption('A = "backfill"\n[B]\nphase = "backfill"\nstrategy = "exclusive"')
    assert adoption.standing("A").strategy is Strategy.SHARED
    assert adoption.standing("B").strategy is Strategy.EXCLUSIVE


def test_nobody_is_the_owner_of_a_type_by_default() -> None:
    """Whose write wins is the clinic's decision: until it is declared a conflict is a question."""
    adoption = read_adoption('A = "backfill"\n[B]\nphase = "read"\nauthority = "legacy"')
    assert adoption.standing("A").authority is None
    assert adoption.standing("B").authority is Authority.LEGACY


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('Patient = "backfil"', "Patient"),
        ("Patient = 3", "Patient"),
        ('[Patient]\nphase = "backfill"\nspeed = 1', "Patient"),
        ('[Patient]\nstrategy = "mine"', "strategies"),
        ('[Patient]\nauthority = "us"', "authorities"),
        ("Patient =", "not TOML"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(Permanent, match=named):
        read_adoption(text)


def test_a_misspelt_type_is_found_out() -> None:
    assert read_adoption('Patinet = "backfill"').unknown_types(["Patient"]) == ["Patinet"]


@pytest.mark.parametrize(
    ("phase", "means"),
    [("write", "does not arrive any more"), ("retired", "final evidence")],
)
def test_where_medplum_owns_a_type_it_is_said_what_that_means(phase: str, means: str) -> None:
    standing = read_adoption(f'Patient = "{phase}"').standing("Patient")
    assert standing.owned_by_medplum
    assert f"phase is {phase}: Medplum owns" in standing.refusal
    assert means in standing.refusal
    assert not read_adoption('Patient = "read"').standing("Patient").owned_by_medplum
