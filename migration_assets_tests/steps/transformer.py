"""A clinic whose organizations are transformed by a Bot of the sandbox."""

from collections.abc import Mapping as MappingOf
from dataclasses import replace
from typing import Any

import orjson
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Bot, Mapping, built_by_a_bot
from migration_assets.medplum import MedplumClient
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.run import Run, Window
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.scripted import ORGANIZATIONS, ScriptedSource

BOT = Bot(identifier="urn:test:bots|organizations")
BY_BOT = replace(ORGANIZATIONS, build=built_by_a_bot, transformer=BOT)

CODE = """
const system = 'http://your-source-system.com/organizationId';
exports.handler = async (medplum, { input }) => {
  const told = (severity, code, expression) => ({
    resourceType: 'OperationOutcome',
    issue: [{ severity, code: 'value', details: { coding: [{ code }] }, expression: [expression] }],
  });
  const made = {
    resourceType: 'Organization', identifier: [{ system, value: input.id }], name: input.name,
  };
  switch (input.name) {
    case 'skip me': return told('information', 'test-record');
    case 'quarantine me': return told('error', 'unmapped-code', 'name');
    case 'throw': throw new TypeError(`no such thing: ${input.name}`);
    case 'nothing': return undefined;
    case 'text': return 'an Organization, believe me';
    case 'patient': return { ...made, resourceType: 'Patient' };
    case 'two types': return [made, { ...made, resourceType: 'Location' }];
    case 'stored': return { ...made, id: '5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11' };
    case 'invalid': return { ...made, active: 'yes' };
    case 'slow': await new Promise((resolve) => setTimeout(resolve, 1500));
    default: return made;
  }
};
"""


class BotClinic:
    """A source, an account, and a project that holds the Bot."""

    def __init__(self, manifest: Manifest, sandbox: Sandbox, **client: Any) -> None:
        self.manifest = manifest
        self.sandbox = sandbox
        self.client = MedplumClient(
            sandbox.base_url, sandbox.client_id, SecretStr(SECRET), auth="basic", **client
        )
        self.source = ScriptedSource()

    def deploy(self, code: str = CODE, **more: Any) -> str:
        """Put the Bot there, or another version of it; its id."""
        found = self.client.search("Bot", {"identifier": str(BOT.identifier)})
        if found and more:
            self._put(f"/Bot/{found[0]['id']}", found[0] | more)
        system, _, value = str(BOT.identifier).partition("|")
        bot = {
            "resourceType": "Bot",
            "identifier": [{"system": system, "value": value}],
            "name": "organizations",
            "runtimeVersion": "awslambda",
        }
        number = str(found[0]["id"] if found else self._post("/Bot", bot | more)["id"])
        self._post(f"/Bot/{number}/$deploy", {"code": code})
        return number

    def create_bare(self, system: str, value: str) -> None:
        """A Bot that nothing was deployed to."""
        bot = {"resourceType": "Bot", "identifier": [{"system": system, "value": value}]}
        self._post("/Bot", bot)

    def _put(self, path: str, body: MappingOf[str, Any]) -> None:
        self._send("PUT", path, body)

    def _post(self, path: str, body: MappingOf[str, Any]) -> dict[str, Any]:
        return self._send("POST", path, body)

    def _send(self, method: str, path: str, body: MappingOf[str, Any]) -> dict[str, Any]:
        wire = self.client._wire
        answer = wire.answer(method, path, orjson.dumps(body), what="Deploying a Bot")
        assert answer.status_code in (200, 201), answer.text
        told: dict[str, Any] = answer.json()
        return told

    @property
    def executions(self) -> int:
        """How often Bots ran since the sandbox was reset."""
        number: int = self.sandbox.stats()["executions"]
        return number

    def run(self, fhir: Any = None, phase: str = "backfill") -> Run:
        """A new run."""
        number = self.manifest.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=self.manifest,
            puller=self.source,
            adoption=read_adoption(f'Organization = "{phase}"'),
            fhir=fhir or self.client,
            deadline_seconds=30,
        )

    def migrate(
        self, *names: str, mapping: Mapping[Any] = BY_BOT, fhir: Any = None, **more: Any
    ) -> Worked:
        """Land organizations of these names, if any, and deliver what is pending."""
        run = self.run(fhir, **more)
        if names:
            for name in names:
                self.source.put("organizations", name, name=name)
            land(run, mapping, Window(None, None))
        return migrate(run, mapping)

    def migrate_again(self, mapping: Mapping[Any]) -> Worked:
        """Land what the source serves now, and deliver what is pending."""
        run = self.run()
        land(run, mapping, Window(None, None))
        return migrate(run, mapping)

    def edit(self, resource: MappingOf[str, Any]) -> None:
        """Write a resource as somebody else would."""
        self._put(f"/{resource['resourceType']}/{resource['id']}", resource)

    def standing(self) -> dict[str, tuple[State, str | None, str | None, str | None]]:
        """State, reason, field and mapping version of each unit, by its key."""
        numbers = self.manifest.remapping.chosen("organizations", Subset())
        return {
            each.unit.key: (each.state, each.reason, each.field, each.mapping_version)
            for each in self.manifest.remapping.settled(numbers)
        }

    def held(self) -> dict[str, dict[str, Any]]:
        """What the project holds, by its name."""
        return {each["name"]: each for each in self.client.search("Organization", {})}
