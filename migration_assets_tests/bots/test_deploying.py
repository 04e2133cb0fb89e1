"""A Bot is deployed once per code: each deployment is another version of all it transformed."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from migration_assets.cli.verbs import VERBS
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.mapping import Bot
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.deploying import Deployed, Deployments
from migration_assets_tests.conftest import SECRET

pytestmark = pytest.mark.sandbox

BOT = Bot(identifier="urn:test:bots|one, with a comma")
ONE, OTHER = "exports.handler = async () => 1;", "exports.handler = async () => 2;"


@pytest.fixture
def client(running: Sandbox) -> MedplumClient:
    running.reset()
    running.change(bots=True)
    return MedplumClient(running.base_url, running.client_id, SecretStr(SECRET), auth="basic")


def deployed(client: MedplumClient, code: str) -> Deployed:
    return client.deploy_bot(BOT, "one", code, "awslambda")


def test_the_same_code_is_not_deployed_twice_and_another_is(client: MedplumClient) -> None:
    first, again, other = (deployed(client, each) for each in (ONE, ONE, OTHER))
    assert [each.event for each in (first, again, other)] == ["created", "unchanged", "deployed"]
    assert first == Deployed(again.id, again.version_id, "created")
    assert (other.id, other.version_id != first.version_id) == (first.id, True)
    assert client.execute_bot(first.id, b"{}") == 2
    (bot,) = client.search("Bot", {})
    assert bot["auditEventDestination"] == ["log"]
    assert len(bot["meta"]["tag"]) == 1


def test_a_deployment_that_was_cut_off_is_made_again(
    client: MedplumClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Deployments._send

    def cut_off(self: Deployments, method: str, *args: object, **more: object) -> object:
        if method == "PATCH":
            raise KeyboardInterrupt
        return send(self, method, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as cut:
        cut.setattr(Deployments, "_send", cut_off)
        with pytest.raises(KeyboardInterrupt):
            deployed(client, ONE)
    assert deployed(client, ONE).event == "deployed"
    assert len(client.search("Bot", {})) == 1


def test_a_project_without_bots_says_whom_to_ask(client: MedplumClient, running: Sandbox) -> None:
    running.change(bots=False)
    with pytest.raises(Permanent, match="Is the feature bots on in the project"):
        deployed(client, ONE)


def test_the_sources_are_copied_to_a_new_folder_only(tmp_path: Path) -> None:
    made = CliRunner().invoke(VERBS, ["bots", "copy", str(tmp_path / "bots")])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "bots" / "src" / "inbox.ts").exists()
    again = CliRunner().invoke(VERBS, ["bots", "copy", str(tmp_path / "bots")])
    assert isinstance(again.exception, Permanent)
    missing = CliRunner().invoke(VERBS, ["bots", "deploy", "nowhere.cjs", "--system", "urn:x"])
    assert "Build them first" in str(missing.exception)
