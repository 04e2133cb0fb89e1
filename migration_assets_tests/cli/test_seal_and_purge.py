"""``migration seal`` and ``migration purge`` as a person runs them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from migration_assets.cli.verbs import VERBS
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.manifest.payload import PURGED
from migration_assets.manifest.sealing import SETTING, new_key
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import migrated, row
from migration_assets_tests.manifest.test_sealing import on_disk, stored

CANARY = "Kanarienvogel"
KEYS = ("P1", "P2", "P3")


@pytest.fixture
def url(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> str:
    """An account without a key: three patients, of whom two arrived."""
    url = f"sqlite:///{tmp_path / 'manifest.db'}"
    monkeypatch.setenv("MIGRATION_MANIFEST_URL", url)
    manifest = Manifest(url, clock=clock)
    rows = [row(key, name=f"{CANARY} {key}") for key in KEYS]
    manifest.land("patients", rows, run_id=1, reopen=False)
    units = manifest.pending_units("patients")[:2]
    manifest.settle([migrated(each) for each in units], run_id=1)
    manifest.close()
    return url


def migration(*words: str) -> Result:
    """Run the command in this process, which saves its start."""
    return CliRunner().invoke(VERBS, list(words))


def held(url: str, clock: Clock, *keys: str) -> dict[str | None, str]:
    """Every patient's name on account, or ``gone``."""
    manifest = Manifest(url, clock=clock, keys=keys)
    units = manifest.landed_units("patients", limit=9)
    manifest.close()
    return {each.key: "gone" if each.row is PURGED else str(each.row["name"]) for each in units}


EVERYONE = {key: f"{CANARY} {key}" for key in KEYS}


def test_rows_are_sealed_once_and_read_as_before(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run that sealed again would make a row's age in the backups a lie."""
    before = stored(Manifest(url, clock=clock), "payload")
    key = migration("seal", "--new-key").stdout.strip()
    assert stored(Manifest(url, clock=clock), "payload") == before, "making a key seals nothing"
    monkeypatch.setenv(SETTING, key)
    told = json.loads(migration("seal", "--json", "--by", "Ada").stdout)
    assert (told["rows"], told["purged"]) == (3, 0)
    sealed = stored(Manifest(url, clock=clock, keys=(key,)), "payload")
    assert all(each[:1] == b"\x01" for each in sealed)
    assert not any(each in on_disk(url) for each in before)
    assert held(url, clock, key) == EVERYONE
    again = migration("seal")
    assert "0 rows and 0 fingerprints anew; 3 rows are under it now" in again.stdout
    assert stored(Manifest(url, clock=clock, keys=(key,)), "payload") == sealed
    acts = Manifest(url, clock=clock, keys=(key,)).protection.custody.latest()
    assert {(each.act, each.by, each.rows) for each in acts} >= {("sealed", "Ada", 3)}
    assert key not in told.values()


def test_a_new_key_put_before_the_old_one_takes_over_every_row(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = new_key(), new_key()
    monkeypatch.setenv(SETTING, old)
    assert migration("seal").exit_code == 0
    monkeypatch.setenv(SETTING, f"{new},{old}")
    assert json.loads(migration("seal", "--json").stdout)["rows"] == 3
    assert held(url, clock, new) == EVERYONE


@pytest.mark.parametrize("keys", [(), (new_key(),)], ids=["no key", "another key"])
def test_without_the_key_that_sealed_them_rows_are_left_alone_and_the_key_is_named(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    """Never the key itself: what is printed ends up in a ticket."""
    old = new_key()
    monkeypatch.setenv(SETTING, old)
    name = json.loads(migration("seal", "--json").stdout)["key"]
    before = stored(Manifest(url, clock=clock, keys=(old,)), "payload")
    monkeypatch.setenv(SETTING, ",".join(keys)) if keys else monkeypatch.delenv(SETTING)
    refused = migration("seal")
    assert isinstance(refused.exception, Permanent)
    said = str(refused.exception)
    assert SETTING in said
    assert not keys or name in said
    assert old not in said
    assert not any(each in said for each in keys)
    assert stored(Manifest(url, clock=clock, keys=(old,)), "payload") == before


def test_a_purge_says_what_it_would_drop_and_drops_it_when_told(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what arrived goes; forever is the default, and drops nothing."""
    assert "Nothing to purge (kept: forever)" in migration("purge", "--yes").stdout
    monkeypatch.setenv("MIGRATION_RETENTION", "until_migrated")
    dry = migration("purge")
    assert "What a purge would drop (--yes does it)" in " ".join(dry.stdout.split())
    assert "until_migrated" in dry.stdout
    would = json.loads(migration("purge", "--json").stdout)
    assert (would["done"], would["rows"], would["kept"]) == (
        False, {"patients": 2}, {"patients": "until_migrated"},
    )  # fmt: skip
    assert held(url, clock) == EVERYONE, "a dry run drops nothing"
    done = json.loads(migration("purge", "Patient", "--yes", "--json", "--by", "Ada").stdout)
    assert done == would | {"done": True}
    assert held(url, clock) == {"P1": "gone", "P2": "gone", "P3": f"{CANARY} P3"}
    assert "Nothing to purge (kept: until_migrated)" in migration("purge", "--yes").stdout
    (act,) = Manifest(url, clock=clock).protection.custody.latest()
    assert (act.act, act.by, act.rows, act.terms) == ("purged", "Ada", 2, "until_migrated")


def test_a_purge_of_one_type_leaves_the_others(
    url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_RETENTION", "until_migrated")
    assert json.loads(migration("purge", "Organization", "--yes", "--json").stdout)["rows"] == {}
    assert held(url, clock) == EVERYONE
    assert migration("purge", "Nonsense").exit_code != 0
