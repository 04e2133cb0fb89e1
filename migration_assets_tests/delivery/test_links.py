"""What refers to a resource leads to the one that is there, whoever wrote it first.

Each case was found, by the machine or by asking what else could go wrong in the same place.
"""

from collections.abc import Iterator

import pytest

from migration_assets import pipeline
from migration_assets.demo.medplum_sandbox import start_sandbox
from migration_assets_tests.delivery.clinic import PERSONS, PLACES, ROOMS, STAYS, Living, token_of
from migration_assets_tests.delivery.machine import SECRET, Migration
from migration_assets_tests.delivery.plans import Plan, Project
from migration_assets_tests.delivery.somebody import Deed

pytestmark = pytest.mark.sandbox

P = token_of("Patient", "P")


@pytest.fixture(scope="module")
def machine() -> Iterator[type[Migration]]:
    """The machine, on a sandbox of its own."""
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a18",
        client_secret=SECRET,
        quota_per_minute=100_000_000,
    ) as sandbox:
        Migration.sandbox = sandbox
        yield Migration


def _told(machine: type[Migration], project: Project, first: Plan, *further: Plan) -> None:
    migration = machine()
    migration.begin(project, first)
    for plan in further:
        migration.run(plan)
    migration.teardown()


def _row(**content: object) -> Living:
    return Living({"name": "z", "left_out": False, **content})


def test_a_stay_of_a_patient_who_was_somebody_elses_and_is_gone_stands_as_mapped(
    machine: type[Migration],
) -> None:
    """The case the machine found: the law did not know whose the id in the reference had been.

    Somebody else's patient is deleted after our stay was linked to it, and no row of ours tells of
    the patient: there is nothing to write. As it was drawn, in full.
    """
    _told(
        machine,
        Project("medplum", transactions=False, marks=True),
        Plan(
            ((PERSONS, "P", None),),
            where=PERSONS,
            exclusive=True,
            lanes=3,
            via="async_batch",
            entries=2,
            whole=False,
        ),
        Plan(
            ((ROOMS, "L", _row()),),
            (("delete", P), ("edit", P)),
            where=PERSONS,
            exclusive=True,
            lanes=2,
            entries=2,
            whole=False,
            meanwhile=(
                PERSONS,
                "P",
                Living({"name": "z", "place": "B", "left_out": False}, merged_into="Q"),
            ),
        ),
        Plan(
            ((STAYS, "W", None), (ROOMS, "L", None)),
            (("create", P), ("create", P)),
            where=PERSONS,
            lanes=4,
            entries=1,
            whole=False,
            meanwhile=(PERSONS, "P", _row(place=None)),
        ),
        Plan(
            ((PERSONS, "R", None), (PERSONS, "P", None), (ROOMS, "L", _row(name="x"))),
            doom=("intend", 1, True),
            where=PERSONS,
            exclusive=True,
            entries=1,
            whole=False,
            meanwhile=(PERSONS, "R", None),
        ),
        Plan(
            ((PERSONS, "P", None), (ROOMS, "L", _row(name="y")), (PLACES, "A", None)),
            (("delete", token_of("Location", "M")), ("delete", P)),
            where=PERSONS,
            faults=127,
            exclusive=True,
            via="async_batch",
            entries=2,
        ),
    )


_GONE, _BACK = (PERSONS, "P", None), (PERSONS, "P", _row(place=None))
_THERE: tuple[Deed, str] = ("create", P)
_FOUNDED = (PLACES, "A", _row(name="x", founder="P"))

STORIES: dict[str, tuple[Plan, ...]] = {
    "theirs is deleted, and ours comes": (
        Plan((_GONE,)),
        Plan(deeds=(_THERE,)),
        Plan((_BACK,), (("delete", P),)),
    ),
    "theirs is deleted, and ours comes, of a back-reference": (
        Plan((_GONE, _FOUNDED)),
        Plan(deeds=(_THERE,)),
        Plan((_BACK,), (("delete", P),), exclusive=True, whole=False),
    ),
    "theirs is deleted, and ours comes in a run that dies": (
        Plan((_GONE,)),
        Plan(deeds=(_THERE,)),
        Plan((_BACK,), (("delete", P),), doom=("settle", 1, True), where=PERSONS),
    ),
    "theirs becomes ours": (Plan((_GONE,)), Plan(deeds=(_THERE,)), Plan((_BACK,))),
    "ours is deleted, theirs comes, and becomes ours with the row that comes back": (
        Plan(),
        Plan((_GONE,)),
        Plan(deeds=(_THERE,)),
        Plan((_BACK,)),
    ),
    "ours is replaced by theirs and deleted with its row, which comes back": (
        Plan(),
        Plan(deeds=(("replace", P),)),
        Plan((_GONE,)),
        Plan((_BACK,)),
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_link_leads_to_the_resource_that_took_anothers_place(
    machine: type[Migration], name: str
) -> None:
    """By row, fingerprint and target nothing changed in the stay: it stayed linked to nothing."""
    first, *further = STORIES[name]
    _told(machine, Project(), first, *further)


def test_the_law_notices_a_link_that_leads_past(
    machine: type[Migration], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "relink", lambda _manifest, _mapping: 0)
    first, *further = STORIES["theirs is deleted, and ours comes"]
    with pytest.raises(AssertionError, match="not as mapped"):
        _told(machine, Project(), first, *further)
