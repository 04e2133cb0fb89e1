"""Bots of the sandbox answer as the real server's source has it, and fail as it says.

Who writes a Bot against a sandbox that is kinder than Medplum finds out in production.
"""

import uuid
from typing import Any

import pytest
import requests

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets_tests.conftest import SECRET

pytestmark = pytest.mark.sandbox

CODE = """
exports.handler = async (medplum, event) => {
  const { say, fail, wait, ask, secret } = event.input;
  if (fail) throw new Error(fail);
  if (wait) await new Promise((resolve) => setTimeout(resolve, wait));
  if (ask) return (await medplum.searchResources('Bot', `name=${ask}`)).length;
  return secret ? event.secrets[secret].valueString : say;
};
"""
NOT_FOUND = "00000000-0000-4000-8000-000000000000"


class Project:
    """Creates and runs Bots as the one client."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._fhir = f"{sandbox.base_url}fhir/R4"
        self._auth = (sandbox.client_id, SECRET)

    def bot(self, runtime: str | None = "awslambda", code: str = CODE, **more: Any) -> str:
        """Create one, with its code if there is any."""
        bot = {"resourceType": "Bot", "name": "told", "runtimeVersion": runtime} | more
        kept = {name: value for name, value in bot.items() if value is not None}
        made = self.post("Bot", kept)
        assert made.status_code == 201, made.text
        number: str = made.json()["id"]
        if code:
            assert self.post(f"Bot/{number}/$deploy", {"code": code}).status_code == 200
        return number

    def post(self, path: str, body: Any, **headers: str) -> requests.Response:
        """Whatever comes back."""
        return requests.post(
            f"{self._fhir}/{path}", json=body, auth=self._auth, headers=headers, timeout=20
        )

    def executed(self, bot: str, **said: Any) -> requests.Response:
        """The Bot's answer to this input."""
        return self.post(f"Bot/{bot}/$execute", said)


@pytest.fixture
def project(running: Sandbox) -> Project:
    running.reset()
    running.change(bots=True, bot_concurrency=100)
    return Project(running)


@pytest.mark.parametrize("runtime", ["awslambda", "vmcontext"])
def test_what_a_bot_returns_is_the_answer_itself(project: Project, runtime: str) -> None:
    bot = project.bot(runtime)
    nothing = "" if runtime == "awslambda" else '"id":"ok"'
    patient = {"resourceType": "Patient", "name": []}
    answers = {
        '{"resourceType":"Patient","name":[]}': project.executed(bot, say=patient),
        '[{"a":1}]': project.executed(bot, say=[{"a": 1}]),
        "bare text, which is no JSON": project.executed(bot, say="bare text, which is no JSON"),
        "42": project.executed(bot, say=42),
        "true": project.executed(bot, say=True),
        nothing: project.executed(bot),
    }
    for text, answer in answers.items():
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.text == text or (text == nothing and text in answer.text)


def test_a_bot_that_throws_is_told_apart_by_runtime(project: Project) -> None:
    lambda_like = project.executed(project.bot("awslambda"), fail="no such code")
    assert lambda_like.status_code == 400
    assert lambda_like.json()["errorMessage"] == "no such code"
    context = project.executed(project.bot("vmcontext"), fail="no such code")
    assert context.status_code == 400
    assert context.json()["resourceType"] == "OperationOutcome"


def test_a_bot_that_takes_too_long_is_ended_and_the_next_one_runs(project: Project) -> None:
    bot = project.bot(timeout=1)
    late = project.executed(bot, wait=5_000, say=1)
    assert (late.status_code, "timed out" in late.text) == (400, True)
    assert project.executed(bot, say=1).text == "1"


def test_a_bot_has_secrets_and_may_ask_the_server_while_it_runs(
    project: Project, running: Sandbox
) -> None:
    running.give_bots(INBOX_TOKEN="invented")
    bot = project.bot()
    assert project.executed(bot, secret="INBOX_TOKEN").text == "invented"
    assert project.executed(bot, ask="told").text == "1"


def test_what_cannot_run_is_refused_and_says_why(project: Project, running: Sandbox) -> None:
    def text_of(answer: requests.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["issue"][0]["details"]["text"]

    whole = project.bot()
    assert text_of(project.executed(project.bot(runtime=None))) == (400, "Unsupported bot runtime")
    assert text_of(project.executed(project.bot(code=""))) == (400, "No executable code")
    assert text_of(project.executed(NOT_FOUND)) == (404, "Not found")
    assert text_of(project.post("Bot/$execute", {})) == (400, "Must specify bot ID or identifier.")
    assert project.post("Bot/$execute?identifier=urn:bots|none", {}).status_code == 404
    running.change(bot_concurrency=0)
    assert text_of(project.executed(whole, say=1)) == (400, "Rate Exceeded.")
    running.change(bots=False)
    assert text_of(project.executed(whole, say=1)) == (400, "Bots not enabled")
    assert text_of(project.post(f"Bot/{whole}/$deploy", {"code": "x"}))[0] == 400


def test_a_deployment_is_another_version_of_the_bot_and_runs_at_once(project: Project) -> None:
    identifier = {"system": "urn:bots", "value": str(uuid.uuid4())}
    bot = project.bot(identifier=[identifier])
    named = f"Bot/$execute?identifier={identifier['system']}|{identifier['value']}"
    assert project.post(named, {"say": 1}).text == "1"
    project.post(f"Bot/{bot}/$deploy", {"code": "exports.handler = async () => 2"})
    assert project.post(named, {"say": 1}).text == "2"


def test_only_what_runs_counts_as_an_execution(project: Project, running: Sandbox) -> None:
    bot = project.bot()
    project.executed(bot, say=1)
    project.executed(NOT_FOUND)
    assert running.stats()["executions"] == 1
