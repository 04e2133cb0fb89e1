"""What refers to a resource leads to the one that is there, whoever wrote it first.

Each case was found, by the machine or by asking what else could go wrong in the same place.
"""

from collections.abc import Iterator

import pytest

from migration_assets.demo.medplum_sandbox import start_sandbox
from migration_assets_tests.delivery.clinic import PERSONS, PLACES, ROOMS, STAYS, Living, token_of
from migration_assets_tests.delivery.machine import SECRET, Migration
from migration_assets_tests.delivery.plans import Plan, Project

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
