"""The Bots pass their own tests under Medplum's mock, and do in a server what they do there."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Quarantine
from migration_assets.fhir.references import reference
from migration_assets.legacy import Source
from migration_assets.manifest import Manifest
from migration_assets.mapping import Quarantined
from migration_assets.mappings import discover
from migration_assets.mappings.organization import MAPPING
from migration_assets.medplum import MedplumClient
from migration_assets.steps.bot_answers import understood
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.bots.project import SOURCES, Project, installed_or_skipped
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY, found, rows
from migration_assets_tests.inbox.door import TOKEN, Door, door

pytestmark = pytest.mark.sandbox

KEYS = {"organizations": "organization_id", "patients": "patient_id"}
SOURCE = Source.model_validate(
    {
        "name": "clinic",
        "base_url": "https://legacy.example/",
        "defaults": {
            "path": "api/{stream}",
            "select": "rows",
            "id": "id",
            "pager": {"type": "none"},
            "cursor": {"field": "updated_at", "format": "iso", "param": "updated_since"},
            "tombstone": {"path": "deleted_at"},
        },
        "streams": [{"name": name, "id": key} for name, key in KEYS.items()],
    }
)


@pytest.fixture(scope="module")
def project() -> Project:
    return installed_or_skipped()


class Medplum:
    """The sandbox, as whoever deploys and executes a Bot sees it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.client = MedplumClient(
            sandbox.base_url, sandbox.client_id, SecretStr(SECRET), auth="basic"
        )

    def deploy(self, code: str) -> str:
        """A Bot with this code; its id."""
        bot = {"resourceType": "Bot", "name": "ours", "runtimeVersion": "vmcontext"}
        number = self._post("/Bot", bot).json()["id"]
        assert self._post(f"/Bot/{number}/$deploy", {"code": code}).status_code == 200
        return str(number)

    def execute(self, bot: str, sent: Any) -> Any:
        """What it said, parsed; raises as the client does."""
        return self.client.execute_bot(bot, orjson.dumps(sent))

    def _post(self, path: str, body: Any) -> Any:
        wire = self.client._wire
        return wire.answer("POST", path, orjson.dumps(body), what="Deploying a Bot")


@pytest.fixture
def medplum(running: Sandbox) -> Medplum:
    running.reset()
    return Medplum(running)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Door]:
    manifest = Manifest(blank_file(tmp_path / "manifest.db"), clock=lambda: datetime.now(UTC))
    mappings = tuple(discover().values())
    with door(manifest, clock=manifest._clock, mappings=mappings, source=SOURCE) as made:
        yield made
    manifest.close()


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with start_clinic(found(tmp_path), api_key=API_KEY, admin_key=ADMIN_KEY) as started:
        yield started


def test_they_pass_their_own_tests_under_medplums_mock(project: Project) -> None:
    checked = project.run("tsc", "--noEmit")
    assert checked.returncode == 0, checked.stdout
    tested = project.run("vitest", "run", "--reporter=dot")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert re.search(r"Tests\s+\d+ passed", tested.stdout)


def test_the_lock_file_says_what_and_never_from_where() -> None:
    """Every site has its own registry; an address in a lock file is another one's."""
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert all("integrity" in each and "resolved" not in each for each in packages.values())
    wanted = json.loads((SOURCES / "package.json").read_text())["devDependencies"]
    assert all(re.fullmatch(r"[\d.]+", each) for each in wanted.values())


def test_the_example_makes_what_our_own_mapping_makes_of_every_example(
    project: Project, medplum: Medplum
) -> None:
    bot = medplum.deploy(project.code("transform-organization"))
    awkward = {"organization_id": "a,b\\c d|é", "name": "", "phone": None, "parent_id": "x,y"}
    for row in (*MAPPING.examples, awkward):
        ours = MAPPING.build(MAPPING.row.model_validate(row))
        assert understood(medplum.execute(bot, row), ("Organization",)) == ours
    assert reference("Organization", "x,y") == medplum.execute(bot, awkward)["partOf"]
    for told, row in MAPPING.quarantined_examples:
        with pytest.raises(Quarantined) as refused:
            understood(medplum.execute(bot, row), ("Organization",))
        assert str(refused.value) == told


def test_an_event_sent_through_a_bot_is_on_account_once(
    project: Project, medplum: Medplum, opened: Door
) -> None:
    medplum.sandbox.give_bots(INBOX_URL=f"http://127.0.0.1:{opened.port}", INBOX_TOKEN=TOKEN)
    bot = medplum.deploy(project.code("send-to-inbox"))
    row = {"patient_id": "P1", "last_name": "Roe", "updated_at": "2026-01-01T00:00:00Z"}
    first = medplum.execute(bot, {"stream": "patients", "row": row})
    again = medplum.execute(bot, {"stream": "patients", "row": row})
    assert (first["landed"]["new"], first["replayed"], again["replayed"]) == (1, False, True)
    assert [each.row for each in opened.manifest.landed_units("patients", limit=9)] == [row]


def test_an_event_that_the_inbox_refuses_fails_the_bot_without_a_word_of_it(
    project: Project, medplum: Medplum, opened: Door
) -> None:
    medplum.sandbox.give_bots(
        INBOX_URL=f"http://127.0.0.1:{opened.port}", INBOX_TOKEN="none-of-the-tokens-there-are"
    )
    bot = medplum.deploy(project.code("send-to-inbox"))
    event = {"stream": "patients", "row": {"patient_id": "P1", "last_name": "Kanarienvogel"}}
    with pytest.raises(Quarantine, match="bot-failed"):
        medplum.execute(bot, event)
    said = medplum._post(f"/Bot/{bot}/$execute", event)
    assert "answered 401 to an event for /events/patients" in said.text
    assert "Kanarienvogel" not in said.text


def test_a_pulled_stream_is_on_account_whole_and_then_only_what_changed(
    project: Project, medplum: Medplum, opened: Door, clinic: Clinic
) -> None:
    medplum.sandbox.give_bots(
        INBOX_URL=f"http://127.0.0.1:{opened.port}",
        INBOX_TOKEN=TOKEN,
        LEGACY_URL=clinic.base_url.rstrip("/"),
        LEGACY_KEY=API_KEY,
    )
    bot = medplum.deploy(project.code("pull-stream"))
    assert medplum.execute(bot, {})["finished"] is True
    served = {each["patient_id"] for each in rows(clinic, "patients") if each.get("patient_id")}
    landed = {each.key for each in opened.manifest.landed_units("patients", limit=999)}
    assert served <= landed
    clinic.put("patients", "P-NEW", {"patient_id": "P-NEW", "last_name": "New"})
    second = medplum.execute(bot, {})
    assert 0 < second["rows"] < len(served)
    now = {each.key for each in opened.manifest.landed_units("patients", limit=999)}
    assert now == landed | {"P-NEW"}
    (mark,) = medplum.client.search("Basic", {})
    assert mark["extension"][0]["valueInstant"]
