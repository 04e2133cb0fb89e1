"""No record is lost, doubled or guessed at, whatever Medplum, somebody else or a crash does."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from migration_assets.demo.medplum_sandbox import start_sandbox
from migration_assets.manifest import Manifest, Settlement
from migration_assets.medplum import conflicts
from migration_assets.medplum.looking import Looker
from migration_assets.steps import preparation
from migration_assets_tests.delivery.clinic import PERSONS, PLACES, ROOMS, STAYS, Living, token_of
from migration_assets_tests.delivery.machine import EXAMPLES, SECRET, Migration
from migration_assets_tests.delivery.plans import Plan, Project

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def machine() -> Iterator[type[Migration]]:
    """The machine, on a sandbox of its own."""
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a17",
        client_secret=SECRET,
        quota_per_minute=100_000_000,
    ) as sandbox:
        Migration.sandbox = sandbox
        yield Migration


@pytest.mark.timeout(600 + 5 * EXAMPLES)  # 27 s alone; 330 s once, beside a load of 15
def test_what_medplum_holds_is_what_the_account_says_whatever_goes_wrong(
    machine: type[Migration],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=5,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes many minutes
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


# -- stories, and what would break each of them ---------------------------------------------------

Story = tuple[Plan, ...]
NOTE, PLAIN = Living({"person": "P", "note": "unwell"}), Living({"person": "P"})

STORIES: dict[str, tuple[Project, Story]] = {
    "creations by a run that died, and a run that creates without a search by the server": (
        Project(),
        (
            Plan(doom=("post_bundle", 1, True), where=PERSONS, exclusive=True),
            Plan(exclusive=True),
        ),
    ),
    "a note that was written by a run that died, and then taken back": (
        Project(transactions=False),
        (
            Plan(),
            Plan(changes=((STAYS, "V", PLAIN),)),
            Plan(changes=((STAYS, "V", NOTE),), doom=("post_bundle", 1, True), where=STAYS),
            Plan(changes=((STAYS, "V", PLAIN),)),
        ),
    ),
    "a change that lands while the one before is under way": (
        Project(),
        (
            Plan(),
            Plan(
                changes=((PLACES, "A", Living({"name": "y"})),),
                meanwhile=(PLACES, "A", Living({"name": "z"})),
            ),
        ),
    ),
    "an edit by somebody else, and then the row changes": (
        Project(),
        (
            Plan(),
            Plan(
                deeds=(("edit", token_of("Patient", "P")),),
                changes=((PERSONS, "P", Living({"name": "z"})),),
            ),
        ),
    ),
    "a seeded record whose deletion was carried out by a run that died, and the row comes back": (
        Project(),
        (
            Plan(),
            Plan(changes=((ROOMS, "L", None),), doom=("post_bundle", 1, True), where=ROOMS),
            Plan(changes=((ROOMS, "L", Living({"name": "z"})),)),
        ),
    ),
    "a group written by a run that died, half of it edited, and then the row changes": (
        Project(),
        (
            Plan(),
            Plan(changes=((STAYS, "V", NOTE),), doom=("post_bundle", 1, True), where=STAYS),
            Plan(deeds=(("edit", token_of("Encounter", "V")),)),
            Plan(changes=((STAYS, "V", replace(NOTE, content={**NOTE.content, "length": 2})),)),
        ),
    ),
}


def _nothing_intended(_manifest: Manifest, wanted: Iterable[Any]) -> None:
    list(wanted)


def _nothing_found(_looker: Looker, submissions: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    return list(submissions), []


def _whatever_landed(manifest: Manifest, settlements: Iterable[Settlement], **named: Any) -> int:
    now = {
        each.id: each.revision
        for stream in (PLACES, ROOMS, PERSONS, STAYS)
        for each in manifest.landed_units(stream, limit=100)
    }
    return _settle(manifest, [replace(e, revision=now[e.unit_id]) for e in settlements], **named)


_settle = Manifest.settle
Breaking = Callable[[pytest.MonkeyPatch], None]
MUTATIONS: list[tuple[str, str, Breaking]] = [
    (
        "nothing is looked for before it is created",
        "creations by a run that died, and a run that creates without a search by the server",
        lambda patch: patch.setattr(Looker, "located", _nothing_found),
    ),
    (
        "what is about to be created is not written down",
        "a note that was written by a run that died, and then taken back",
        lambda patch: patch.setattr(Manifest, "intend", _nothing_intended),
    ),
    (
        "a settlement counts whatever landed meanwhile",
        "a change that lands while the one before is under way",
        lambda patch: patch.setattr(Manifest, "settle", _whatever_landed),
    ),
    (
        "an unexpected version is taken for our own",
        "an edit by somebody else, and then the row changes",
        lambda patch: patch.setattr(conflicts, "is_edit", lambda *_: False),
    ),
    (
        "a seeded record is believed to be there",
        "a seeded record whose deletion was carried out by a run that died, and the row comes back",
        lambda patch: patch.setattr(
            preparation, "_only_created", lambda member: replace(member, create_only=True)
        ),
    ),
]


def _told(machine: type[Migration], name: str) -> None:
    project, (first, *further) = STORIES[name]
    migration = machine()
    migration.begin(project, first)
    for plan in further:
        migration.run(plan)
    migration.teardown()


@pytest.mark.parametrize("name", STORIES)
def test_each_story_ends_with_everything_there_once(machine: type[Migration], name: str) -> None:
    _told(machine, name)


@pytest.mark.parametrize(
    ("name", "breaking"),
    [pytest.param(name, breaking, id=id_) for id_, name, breaking in MUTATIONS],
)
def test_the_law_notices_when_it_is_broken(
    machine: type[Migration], name: str, breaking: Breaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch)
    with pytest.raises(AssertionError):
        _told(machine, name)
