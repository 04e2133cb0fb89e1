"""The sandbox answers as the real server did, except where its ``differences.json`` says so.

The conversations in ``contract/`` were held with a real Medplum 5.0.10; a file's ``settings`` are
what its project had switched on.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_assets.demo import medplum_sandbox
from migration_assets.demo.medplum_sandbox import Sandbox, SandboxOptions
from migration_assets_tests.demo.replay import Replay

pytestmark = pytest.mark.sandbox

SANDBOX = Path(medplum_sandbox.__file__).parent / "sandbox"
CONVERSATIONS = sorted((Path(__file__).parent / "contract").glob("*.json"))
DIFFERENCES: list[dict[str, Any]] = json.loads((SANDBOX / "differences.json").read_text())
ACCEPTED = {probe for difference in DIFFERENCES for probe in difference["probes"]}
OPTIONS = SandboxOptions(
    client_id="4d1c5a1e-0000-4000-8000-00000000c11e", client_secret="a-secret-of-the-tests"
)
DEFAULTS = {"quota_per_minute": 50_000, "transactions": True, "strict": True}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with medplum_sandbox.launch(OPTIONS, None, medplum_sandbox.install_packages()) as running:
        yield running


@pytest.mark.parametrize("file", CONVERSATIONS, ids=lambda file: file.stem)
def test_the_sandbox_answers_as_the_real_server_did(sandbox: Sandbox, file: Path) -> None:
    """What works here must work there: a new difference and a healed one both fail."""
    conversation = json.loads(file.read_text())
    sandbox.reset()
    sandbox.change(**(DEFAULTS | conversation["settings"]))
    with Replay(sandbox) as replay:
        played = {
            f"{file.stem}: {step['name']}": replay.play(step) for step in conversation["steps"]
        }
    found = {name: place for name, place in played.items() if place is not None}
    unlisted = {name: place for name, place in found.items() if name not in ACCEPTED}
    healed = {name for name in ACCEPTED if name.startswith(f"{file.stem}: ")} - set(found)
    assert not unlisted, json.dumps(unlisted, indent=1)
    assert not healed, f"as real now: take them out of differences.json: {sorted(healed)}"


def test_every_listed_difference_names_a_recorded_answer() -> None:
    """Else a renamed probe would leave a dead line behind that nobody checks any more."""
    assert not ACCEPTED - _probes()


def test_the_readme_tells_the_score_and_every_difference() -> None:
    """Who trusts the sandbox reads its README, not a data file."""
    readme = " ".join((SANDBOX / "README.md").read_text().split())
    probes = _probes()
    assert f"{len(probes) - len(ACCEPTED)} of {len(probes)} recorded answers" in readme
    for difference in DIFFERENCES:
        assert f"{difference['reason']} ({len(difference['probes'])})" in readme


def _probes() -> set[str]:
    return {
        f"{file.stem}: {step['name']}"
        for file in CONVERSATIONS
        for step in json.loads(file.read_text())["steps"]
        if "expect" in step
    }
