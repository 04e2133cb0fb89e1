"""Cohorts as they are declared: what is meant is told or refused, and never guessed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.adoption import Adoption, Authority, Phase, read_adoption
from migration_assets.adoption.cohorts import AMBIGUOUS, UNKNOWN, Terms, Traits, told
from migration_assets.adoption.declaring import with_phase
from migration_assets.adoption.flags import flags
from migration_assets.errors import Permanent

TEXT = """[Patient]
phase = "backfill"
authority = "legacy"

# the old house
[Patient.cohorts.north]
organization = "O1"
phase = "write"  # since May
authority = "medplum"

[Patient.cohorts.history]
until = 2015-01-01
stream = "patients"
phase = "read"
"""


def _adoption() -> Adoption:
    return read_adoption(TEXT)


def test_a_cohort_stands_by_itself_and_takes_the_rest_from_its_type() -> None:
    standing = _adoption().standing("Patient")
    north, history = standing.cohorts
    assert standing.of(north).phase is Phase.WRITE
    assert standing.of(north).authority is Authority.MEDPLUM
    assert standing.of(history).authority is Authority.LEGACY
    assert standing.of(None).phase is Phase.BACKFILL
    assert history.terms.until == datetime(2015, 1, 1, tzinfo=UTC)
    assert standing.owned_cohorts == ("north",)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ('phase = "read"', "narrowed by"),
        ('organization = "O1"', "must have a phase"),
        ('organization = "O1"\nphase = "writ"', "Phases"),
        ('organization = ""\nphase = "read"', "must be a text"),
        ('organisation = "O1"\nphase = "read"', "must be a table"),
        ('until = "2015-01-01"\nphase = "read"', "without quotation marks"),
        ('since = 2016-01-01\nuntil = 2015-01-01\nphase = "read"', "before until"),
    ],
)
def test_a_cohort_that_cannot_be_meant_is_refused_by_name(entry: str, named: str) -> None:
    with pytest.raises(Permanent, match=named):
        read_adoption(f'[Patient]\nphase = "read"\n[Patient.cohorts.north]\n{entry}')


def test_only_the_phase_of_the_cohort_changes_in_the_file() -> None:
    changed = with_phase(TEXT, ["Patient"], Phase.READ, cohort="north")
    assert changed == TEXT.replace('"write"  # since May', '"read"  # since May')
    with pytest.raises(Permanent, match="no cohort south"):
        with_phase(TEXT, ["Patient"], Phase.READ, cohort="south")
    assert with_phase(TEXT, ["Patient"], Phase.READ) == TEXT.replace("backfill", "read")


def test_front_ends_are_told_of_each_cohort_by_the_identifier_that_medplum_has() -> None:
    told_ = flags(_adoption(), ["Patient"])["types"]["Patient"]
    assert (told_["write"], told_["cohorts"]["north"]["write"]) == ("legacy", "medplum")
    assert told_["cohorts"]["north"]["terms"]["organization"].endswith("|O1")
    assert (
        "cohorts" not in flags(read_adoption('Patient = "read"'), ["Patient"])["types"]["Patient"]
    )


def test_what_tells_membership_is_the_terms_and_not_the_phases() -> None:
    before = _adoption()
    after = before.with_phase(["Patient"], Phase.READ, cohort="north")
    assert after.standing("Patient").cohorts[0].phase is Phase.READ
    digest = before.standing("Patient").declaration
    assert after.standing("Patient").declaration == digest
    other = read_adoption(TEXT.replace("O1", "O2")).standing("Patient")
    assert other.declaration != digest


_TRAITS = st.builds(
    Traits,
    stream=st.sampled_from(["patients", "others"]),
    changed_at=st.none() | st.datetimes(datetime(2010, 1, 1), datetime(2020, 1, 1)).map(  # noqa: DTZ001 - made aware below
        lambda each: each.replace(tzinfo=UTC)
    ),
    organizations=st.frozensets(st.sampled_from(["O1", "O2"])),
    certain=st.booleans(),
)  # fmt: skip


@given(_TRAITS)
def test_a_row_is_in_one_cohort_or_in_none_or_that_is_not_told(traits: Traits) -> None:
    cohorts = _adoption().standing("Patient").cohorts
    cohort, problem = told(cohorts, traits)
    old = traits.changed_at is not None and traits.changed_at < datetime(2015, 1, 1, tzinfo=UTC)
    meant = ["north"] * ("O1" in traits.organizations)
    meant += ["history"] * (old and traits.stream == "patients")
    if not traits.certain and "O1" not in traits.organizations:
        assert problem == UNKNOWN
    elif len(meant) > 1:
        assert problem == AMBIGUOUS
    else:
        assert (cohort.name if cohort else None, problem) == (meant[0] if meant else None, "")


def test_what_a_cohort_means_is_told_in_the_words_of_reconcile() -> None:
    terms = Terms(organization="O1", since=datetime(2015, 1, 1, tzinfo=UTC))
    assert terms.as_options() == "--organization O1 --since 2015-01-01T00:00:00"
    assert terms.as_json() == {"organization": "O1", "since": "2015-01-01T00:00:00+00:00"}
    assert str(terms) == "organization O1, changed from 2015-01-01 00:00"
