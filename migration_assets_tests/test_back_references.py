"""Back-references: FHIR is cyclic and load order is not; nothing waits for ever, none is lost."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.fhir.references import without_items
from migration_assets.manifest import Manifest, State
from migration_assets.mapping import Mapping
from migration_assets.medplum import MedplumClient
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.run import Run, Window
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.scripted import PATIENTS, PRACTICES, ScriptedSource


@pytest.fixture
def client(running: Sandbox) -> MedplumClient:
    running.reset()
    return MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))


@pytest.fixture
def account(tmp_path: Path) -> Manifest:
    return Manifest(f"sqlite:///{tmp_path / 'm.db'}", clock=lambda: datetime.now(UTC))


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def through(
    account: Manifest, source: ScriptedSource, client: MedplumClient
) -> Callable[[Mapping[Any]], Worked]:
    def once(mapping: Mapping[Any]) -> Worked:
        number = account.start_run("test", pipeline_version="0")
        run = Run(
            id=number,
            label=f"run-{number}",
            manifest=account,
            puller=source,
            adoption=read_adoption('Organization = "backfill"\nPatient = "backfill"'),
            fhir=client,
            deadline_seconds=30,
        )
        land(run, mapping, Window(None, None))
        return migrate(run, mapping)

    return once


def founders(client: MedplumClient) -> list[Any]:
    (practice,) = client.search("Organization", {})
    return [
        each["valueReference"]["reference"]
        for each in practice["extension"]
        if "valueReference" in each
    ]


def test_a_resource_is_written_without_what_comes_later_and_completed_when_it_came(
    through: Callable[[Mapping[Any]], Worked],
    account: Manifest,
    source: ScriptedSource,
    client: MedplumClient,
) -> None:
    source.put("organizations", "O1", parent="P1")
    through(PRACTICES)
    assert account.balances()["organizations"].by_state[State.MIGRATED] == 1
    assert founders(client) == []
    source.put("patients", "P1", organization="O1")
    through(PATIENTS)
    (patient,) = client.search("Patient", {})
    worked = through(PRACTICES)
    assert founders(client) == [f"Patient/{patient['id']}"]
    assert worked.events == {"changed": 1}
    assert through(PRACTICES).events == {}, "complete, and unchanged from then on"


def test_while_the_target_is_missing_nothing_is_written_twice(
    through: Callable[[Mapping[Any]], Worked],
    account: Manifest,
    source: ScriptedSource,
    running: Sandbox,
    client: MedplumClient,
) -> None:
    source.put("organizations", "O1", parent="P-never")
    through(PRACTICES)
    before = running.stats()["versions"]
    for _ in range(2):
        through(PRACTICES)
    assert running.stats()["versions"] == before
    assert account.balances()["organizations"].by_state[State.UNCHANGED] == 1


_names = st.sampled_from(["a", "b", "c"])
_ways = st.lists(
    st.one_of(
        st.tuples(_names),
        st.tuples(_names, st.integers(0, 2)),
        st.tuples(_names, st.integers(0, 2), st.just("x")),
    ),
    max_size=4,
)


@given(ways=_ways)
def test_leaving_items_out_takes_those_and_no_others(ways: list[tuple[str | int, ...]]) -> None:
    resource = {name: [f"{name}{index}" for index in range(3)] for name in "abc"}
    whole = {way[0] for way in ways if len(way) == 1}
    single = {(way[0], way[1]) for way in ways if len(way) > 1}
    expected = {
        name: kept
        for name, items in resource.items()
        if name not in whole
        and (kept := [each for index, each in enumerate(items) if (name, index) not in single])
    }
    assert without_items(resource, ways) == expected
