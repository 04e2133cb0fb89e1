"""A queue in Dagster: read whatever the window, and marked as read only once it is on account."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest

from migration_assets.adoption import Adoption, read_adoption
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.legacy import Source, load_description
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.settings import Settings
from migration_assets_tests.conftest import Clock
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.scripted import NOW, ORGANIZATIONS

MAPPINGS: dict[str, Mapping[Any]] = {"Organization": ORGANIZATIONS}
DESCRIPTION = """
name: queued
base_url: {base}
streams:
  - name: organizations
    path: changed
    select: rows
    id: id
    queue: {{type: acknowledge, path: seen, event: event, ids: events}}
"""


@dataclass(frozen=True)
class QueuedConnections(Connections):
    """The real connections to a served queue; everything rehearses."""

    base: str = ""

    def source(self) -> Source:
        """The description of the queue."""
        return load_description(DESCRIPTION.format(base=self.base))

    def adoption(self) -> Adoption:
        """Nothing is delivered."""
        return read_adoption("")


@pytest.fixture
def server() -> Iterator[LegacyServer]:
    with LegacyServer() as served:
        yield served


@pytest.fixture
def connections(tmp_path: Path, server: LegacyServer, clock: Clock) -> QueuedConnections:
    clock.now = NOW
    settings = Settings.model_validate(
        {
            "MIGRATION_MANIFEST_URL": f"sqlite:///{tmp_path / 'manifest.db'}",
            "MIGRATION_START": "2026-10-01",
        }
    )
    return QueuedConnections(settings, clock=clock, base=server.url)


def materialize(connections: Connections, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    made = build_definitions(connections=connections, mappings=MAPPINGS)
    with dg.DagsterInstance.ephemeral() as instance:
        return made.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            partition_key="2026-11-01",
            run_config={"ops": {"medplum__Organization": {"config": config}}},
            raise_on_error=False,
        )


@pytest.mark.parametrize("incremental", [False, True])
def test_events_are_forgotten_at_the_source_only_after_their_rows_landed(
    connections: QueuedConnections, server: LegacyServer, incremental: bool
) -> None:
    waiting = {f"e{number}": {"id": f"O{number}", "event": f"e{number}"} for number in range(3)}
    on_account: list[int] = []

    def changed(_asked: Asked) -> Reply:
        return json_reply({"rows": list(waiting.values())})

    def seen(asked: Asked) -> Reply:
        with Connections.manifest(connections) as manifest:
            on_account.append(_held(manifest))
        for event in orjson.loads(asked.body)["events"]:
            del waiting[event]
        return json_reply({})

    server.routes |= {"/changed": changed, "/seen": seen}
    assert materialize(connections, {"incremental": incremental}).success
    assert on_account == [3]
    assert waiting == {}
    waiting["e9"] = {"id": "O9", "event": "e9"}
    assert materialize(connections, {"incremental": incremental}).success
    assert on_account == [3, 4]


def test_nobody_sweeps_a_queue_at_night(
    connections: QueuedConnections, server: LegacyServer
) -> None:
    """It shows what changed: everything it does not show would count as missing."""
    made = build_definitions(connections=connections, mappings=MAPPINGS)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance,
            resources={"connections": connections},
            scheduled_execution_time=NOW,
            repository_def=made.get_repository_def(),
        )
        schedule = made.resolve_schedule_def("nightly_sweep")
        assert not schedule.evaluate_tick(context).run_requests


def _held(manifest: Manifest) -> int:
    return len(manifest.landed_units("organizations", limit=99))
