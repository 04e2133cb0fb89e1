"""``migration phase`` and ``migration flags`` as a person runs them, against a Medplum."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from migration_assets.cli.check import _medplum
from migration_assets.cli.check_side_effects import side_effects
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.manifest import Alongside, Manifest
from migration_assets.mappings import discover
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.listeners import listeners
from migration_assets.settings import Settings, read_settings
from migration_assets_tests.cli.test_reconcile import (
    CANARY,
    _migrated,
    migration,
)
from migration_assets_tests.conftest import SECRET

KEY = discover()["Organization"].examples[0]["organization_id"]


@pytest.fixture
def client(running: Sandbox) -> Iterator[MedplumClient]:
    running.reset()
    client = MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))
    yield client
    client.close()


@pytest.fixture
def folder(
    running: Sandbox, client: MedplumClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project in which one organization was migrated, and every window of it read."""
    for name, value in _migrated(running, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MIGRATION_FLAGS", str(tmp_path / "flags.json"))
    monkeypatch.setenv("MIGRATION_START", "2026-09-01")
    connections = Connections(read_settings(None))
    with connections.manifest() as manifest:
        assert connections.bounds.windows is not None
        for key in connections.bounds.windows(connections.clock()):
            read = Alongside(window=(key, 0))
            manifest.land("organizations", [], run_id=1, reopen=False, alongside=read)
    return tmp_path


def _post(client: MedplumClient, resource: dict[str, Any]) -> None:
    entry = {"request": {"method": "POST", "url": resource["resourceType"]}, "resource": resource}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    (answer,) = client.post_bundle(json.dumps(bundle).encode(), 1)
    assert answer["response"]["status"].startswith("201"), answer


def _flag(folder: Path, kind: str) -> Any:
    return json.loads((folder / "flags.json").read_text())["types"][kind]


def test_a_type_goes_on_once_it_is_proved_front_ends_hear_of_it_and_it_can_come_back(
    folder: Path, client: MedplumClient
) -> None:
    said = [migration("phase")]
    assert "Organization was never compared" in said[0].output
    refused = migration("phase", "Organization", "read", "--yes")
    assert (refused.exit_code, "reconcile Organization" in refused.output) == (1, True)
    assert (folder / "adoption.toml").read_text() == 'Organization = "backfill"'
    assert migration("reconcile", "Organization", "--references").exit_code == 0
    with pytest.MonkeyPatch.context() as earlier:
        earlier.setenv("MIGRATION_START", "2026-08-01")
        unread = migration("phase", "Organization", "read", "--yes")
    assert (unread.exit_code, "1 window of the source" in unread.output) == (1, True)
    asked = migration("phase", "Organization", "read")
    assert (asked.exit_code, "--yes" in asked.output) == (0, True)
    assert (folder / "adoption.toml").read_text() == 'Organization = "backfill"'
    done = migration("phase", "Organization", "read", "--yes", "--by", "a lead", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["done"] is True
    assert (folder / "adoption.toml").read_text() == 'Organization = "read"'
    assert _flag(folder, "Organization")["read"] == "medplum"
    (basic,) = client.search("Basic", {})
    jump = migration("phase", "Organization", "retired", "--yes")
    assert (jump.exit_code, "a jump over a phase" in jump.output) == (1, True)
    back = ("phase", "Organization", "backfill", "--yes", "--force")
    assert migration(*back).exit_code != 0
    returned = migration(*back, "--reason", "slow")
    assert returned.exit_code == 0, returned.output
    assert _flag(folder, "Organization")["read"] == "legacy"
    (after,) = client.search("Basic", {})
    assert (after["id"], after["meta"]["versionId"] != basic["meta"]["versionId"]) == (
        basic["id"], True,
    )  # fmt: skip
    manifest = Manifest(f"sqlite:///{folder / 'manifest.db'}", clock=lambda: None)  # type: ignore[arg-type, return-value] # only read
    last, first = manifest.switching.changes()
    assert (first.by, first.was, first.becomes, first.forced) == (
        "a lead", "backfill", "read", False,
    )  # fmt: skip
    assert first.evidence["comparisons"][0]["id"] == 1
    assert (last.forced, last.reason) == (True, "slow")
    manifest.close()
    every = [*said, refused, asked, done, jump, returned, migration("phase", "--json")]
    assert CANARY not in "".join(each.output for each in every)


def test_a_way_back_is_open_although_the_legacy_system_cannot_be_asked(folder: Path) -> None:
    """Rolling back is needed most when things are down."""
    (folder / "adoption.toml").write_text('Organization = "write"', encoding="utf-8")
    (folder / "source.yaml").write_text("nonsense", encoding="utf-8")
    back = ("phase", "Organization", "read", "--yes", "--force", "--reason", "outage")
    done = migration(*back, "--no-publish")
    assert done.exit_code == 0, done.output
    assert (folder / "adoption.toml").read_text() == 'Organization = "read"'
    assert not (folder / "flags.json").exists()


def test_flags_are_written_where_they_are_asked_for_and_once(folder: Path) -> None:
    out = folder / "elsewhere.json"
    told = [migration("flags", "--out", str(out), "--json") for _time in range(2)]
    events = [
        {place: how["event"] for place, how in json.loads(each.stdout)["written"].items()}
        for each in told
    ]
    assert events == [
        {"file": "created", "medplum": "created"}, {"file": "unchanged", "medplum": "unchanged"},
    ]  # fmt: skip
    assert json.loads(out.read_text())["types"]["Organization"]["write"] == "legacy"
    assert "Organization" in migration("flags").output


def test_whoever_listens_to_what_is_migrated_is_named_with_what_to_do(
    folder: Path, client: MedplumClient
) -> None:
    """A backfill of ten years of results must not page a clinician for each of them."""
    assert [each.verdict for each in side_effects(client, ["Patient"], read_settings())] == ["ok"]
    channel = {"type": "rest-hook", "endpoint": "https://hooks.example/x"}
    base = {"resourceType": "Subscription", "status": "active", "reason": "x"}
    criteria = f"Patient?name={CANARY}"
    _post(client, {**base, "criteria": criteria, "channel": channel})
    _post(client, {**base, "criteria": "Patient?_tag:not=a|b", "channel": channel})
    _post(client, {**base, "criteria": "Observation?code=1", "channel": channel})
    _post(client, {**base, "criteria": "Patient", "status": "off", "channel": channel})
    to_bot = {"type": "rest-hook", "endpoint": "Bot/1f0f3c5d-7c55-4a5f-9d0a-6f2b7e1c9a11"}
    _post(client, {**base, "criteria": "Patient?active=true", "channel": to_bot})
    _post(client, {"resourceType": "Bot", "name": "nightly", "cronString": "0 3 * * *"})
    found = listeners(client)
    assert (len(found.subscriptions), found.bots, found.scheduled) == (4, 1, 1)
    assert sorted((each.channel, each.narrowed) for each in found.on(["Patient"])["Patient"]) == [
        ("bot", False), ("rest-hook", False), ("rest-hook", True),
    ]  # fmt: skip
    (warned,) = side_effects(client, ["Patient"], Settings(MIGRATION_MARKER="https://x.example|m"))
    assert warned.verdict == "warning"
    assert "_tag:not=https://x.example|m" in warned.warnings[0]
    assert "2 to rest-hook" in warned.details[0]
    settings = read_settings()
    checked = list(_medplum(Connections(settings), None, mappings_of(settings)))
    (told,) = (each for each in checked if each.claim == "Medplum listeners")
    assert (told.verdict, sorted(told.seen)) == ("warning", ["Observation", "Patient"])
    assert CANARY not in repr(warned) + repr(checked)


def test_a_cohort_is_moved_by_itself_once_it_is_proved_and_front_ends_are_told_whom_it_means(
    folder: Path,
) -> None:
    text = (
        '# the clinic\n[Organization]\nphase = "rehearse"\n\n'
        f'[Organization.cohorts.old]  # up to the merger\norganization = "{KEY}"\n'
        'phase = "backfill"\n'
    )
    path = folder / "adoption.toml"
    path.write_text(text, encoding="utf-8")
    assert "· old" in migration("phase").output
    unknown = migration("phase", "Organization", "--cohort", "new")
    assert "has no cohort new. Declared in adoption.toml: old" in str(unknown.exception)
    asked = ("phase", "Organization", "read", "--cohort", "old", "--yes")
    refused = migration(*asked)
    assert (refused.exit_code, path.read_text()) == (1, text)
    mended = ("reconcile", "Organization", "--organization", KEY, "--references")
    assert f"`migration {' '.join(mended)}`" in " ".join(refused.output.split())
    assert migration(*mended).exit_code == 0
    done = migration(*asked, "--by", "a lead")
    assert (done.exit_code, "cohort old: backfill → read" in done.output) == (0, True), done.output
    assert path.read_text() == text.replace('"backfill"', '"read"')
    flag = _flag(folder, "Organization")
    assert (flag["phase"], flag["read"]) == ("rehearse", "legacy")
    assert flag["cohorts"]["old"]["read"] == "medplum"
    assert flag["cohorts"]["old"]["terms"]["organization"].endswith(f"|{KEY}")
    assert "Organization, cohort old (organization ORG001): phase read, 1 row." in " ".join(
        migration("status").stdout.split()
    )
    told = json.loads(migration("phase", "--json").stdout)["types"]
    parts = {each["cohort"]: each["phase"] for each in told if each["types"] == ["Organization"]}
    assert parts == {None: "rehearse", "old": "read"}
    manifest = Manifest(f"sqlite:///{folder / 'manifest.db'}", clock=lambda: None)  # type: ignore[arg-type, return-value] # only read
    (change,) = manifest.switching.changes()
    assert (change.cohort, change.was, change.becomes) == ("old", "backfill", "read")
    assert manifest.switching.since("Organization", "read") is None
    assert manifest.switching.since("Organization", "read", "old") is not None
    manifest.close()
