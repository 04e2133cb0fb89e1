"""Whoever asks the source counts on the one budget of its credential, in the account."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_assets.cli.check import findings_of_everything
from migration_assets.cli.preview import preview
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.manifest import Alongside, Manifest
from migration_assets.settings import read_settings
from migration_assets_tests.legacy.legacy_server import LegacyServer, json_reply
from migration_assets_tests.scripted import PATIENTS

DESCRIPTION = """
name: clinic
base_url: {url}
auth: {{type: none}}
limits: [{{requests: 100, per_seconds: 60}}]
budget: the-vendor-key
http: {{attempts: 1}}
defaults:
  path: "{{stream}}"
  select: rows
  id: id
  cursor: {{field: at, param: since, tz: UTC, precision_seconds: 0.001, lookback_seconds: 60}}
streams: []
"""


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connections]:
    """Connections as the settings make them, to a source that answers every stream with no row."""
    with LegacyServer() as server:
        every_stream: Any = _AnyPath(json_reply({"rows": []}))
        server.routes = every_stream
        described = tmp_path / "clinic.yaml"
        described.write_text(DESCRIPTION.format(url=server.url))
        monkeypatch.setenv("MIGRATION_SOURCE", str(described))
        monkeypatch.setenv("MIGRATION_MANIFEST_URL", f"sqlite:///{tmp_path / 'manifest.db'}")
        yield Connections(read_settings())


class _AnyPath(dict[str, Any]):
    def __init__(self, reply: Any) -> None:
        self._reply = reply

    def __missing__(self, path: str) -> Any:
        return lambda _asked: self._reply


def counted(connections: Connections) -> bool:
    """Whether the account knows of a request on the credential's budget."""
    with (
        connections.manifest() as manifest,
        manifest.requests_made("the-vendor-key", depth=1) as it,
    ):
        return it.ago(1) is not None


def test_a_run_counts_its_requests_on_the_budget(connections: Connections) -> None:
    with connections.run("test", dry=True) as run:
        assert [page.rows for page in run.puller.pages("patients", None, None)] == [()]
    assert counted(connections)


def test_the_check_counts_its_requests_on_the_budget(connections: Connections) -> None:
    said = {each.claim: each.verdict for each in findings_of_everything()}
    assert said["stream patients"] == "ok"
    assert counted(connections)


def test_a_live_preview_counts_its_request_on_the_budget(connections: Connections) -> None:
    preview("Patient", live=True)
    assert counted(connections)


def test_the_sensor_counts_its_questions_on_the_budget(connections: Connections) -> None:
    with connections.manifest() as manifest:
        marked(manifest)
    made = build_definitions(connections=connections, mappings={"Patient": PATIENTS})
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, definitions=made, resources={"connections": connections}
        )
        made.resolve_sensor_def("legacy_changes")(context)
    assert counted(connections)


def marked(manifest: Manifest) -> None:
    """Have the stream pulled once, so that the sensor has a mark to ask from."""
    run = manifest.start_run("test", pipeline_version="0")
    seed = Alongside(seed=datetime(2026, 11, 1, tzinfo=UTC))
    manifest.land(PATIENTS.stream, [], run_id=run, reopen=False, alongside=seed)
