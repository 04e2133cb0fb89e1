"""Encryption at rest: nothing readable stays in the files, nothing is lost or new for it."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest, State, Target
from migration_assets.manifest.payload import canonical, row_hash
from migration_assets.manifest.rotation import rotate
from migration_assets.manifest.sealing import SETTING, Seals, new_key
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import migrated, row, tombstone

OLD, NEW = new_key(), new_key()
CANARY = "Kanarienvogel"
PRINT = row_hash(b"content").hex()


def opened(url: str, clock: Clock, *keys: str) -> Manifest:
    return Manifest(url, clock=clock, keys=keys)


def filled(manifest: Manifest, *, run_id: int = 1) -> None:
    """Three patients: two that arrived, one still to be delivered."""
    rows = [row(key, name=f"{CANARY} {key}") for key in ("P1", "P2", "P3")]
    manifest.land("patients", rows, run_id=run_id, reopen=False)
    units = manifest.pending_units("patients")[:2]
    manifest.intend((each.id, Target("Patient", f"t|{each.key}", sent={PRINT})) for each in units)  # type: ignore[arg-type]
    manifest.settle([migrated(each) for each in units], run_id=run_id)
    name = "Patient|http://x/patientId|P1"
    confirmed = Target("Patient", name, "id-P1", "v1", PRINT)
    manifest.settle([_with(migrated(units[0]), confirmed)], run_id=run_id)


def _with(settlement: Any, target: Target) -> Any:
    return replace(settlement, targets=(target,))


def sealed(manifest: Manifest) -> tuple[int, int]:
    told: list[int] = []
    protection = manifest.protection
    return rotate(protection.rotation, protection.custody, by="a test", told=told.append)


def stored(manifest: Manifest, column: str, table: str = "units") -> list[Any]:
    with manifest._read.begin() as connection:
        query = sa.text(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY id")  # noqa: S608
        found = list(connection.execute(query).scalars())
    return [bytes(each) if isinstance(each, memoryview) else each for each in found]


def on_disk(url: str) -> bytes:
    """Everything SQLite has in files, log and all."""
    path = Path(url.removeprefix("sqlite:///"))
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob(path.name + "*")))


@pytest.fixture
def open_account(manifest_url: str, clock: Clock) -> Iterator[Manifest]:
    manifest = opened(manifest_url, clock)
    filled(manifest)
    yield manifest
    manifest.close()


def names(manifest: Manifest) -> list[str]:
    return [str(each.row["name"]) for each in manifest.landed_units("patients", limit=9)]


EVERYONE = [f"{CANARY} {key}" for key in ("P1", "P2", "P3")]


def test_with_a_key_set_nothing_is_written_that_could_be_read_or_guessed(
    manifest_url: str, clock: Clock
) -> None:
    """A hash of a row with few possible values is as good as the row."""
    manifest = opened(manifest_url, clock, NEW)
    filled(manifest)
    assert names(manifest) == EVERYONE
    plain = row_hash(canonical(row("P1", name=f"{CANARY} P1").row))
    assert all(each[:1] == b"\x01" for each in stored(manifest, "payload"))
    assert all(plain not in each for each in stored(manifest, "row_hash"))
    prints = [*stored(manifest, "fingerprint", "targets"), *stored(manifest, "sent", "targets")]
    assert prints
    assert all(PRINT not in each for each in prints)
    (first, *_) = manifest.landed_units("patients", limit=1)
    assert PRINT in {each.fingerprint for each in first.targets}
    assert frozenset({PRINT}) in {each.sent for each in first.targets}
    manifest.close()


def test_rows_from_before_the_key_are_read_stay_the_same_and_are_sealed_by_the_rotation(
    open_account: Manifest, manifest_url: str, clock: Clock
) -> None:
    """The day the key comes a million rows are on account: none may be written again for it."""
    manifest = opened(manifest_url, clock, NEW)
    assert names(manifest) == EVERYONE
    again = manifest.land(
        "patients", [row(key, name=f"{CANARY} {key}") for key in ("P1", "P2")],
        run_id=2, reopen=False,
    )  # fmt: skip
    assert (again.same, again.changed, again.new) == (2, 0, 0)
    before = manifest.balances()["patients"].by_state
    rows, prints = sealed(manifest)
    assert (rows, prints) == (3, 4)
    assert manifest.balances()["patients"].by_state == before
    assert names(manifest) == EVERYONE
    again = manifest.land("patients", [row("P1", name=f"{CANARY} P1")], run_id=3, reopen=False)
    assert (again.same, again.changed) == (1, 0)
    assert sealed(manifest) == (0, 0)
    (act, *_) = manifest.protection.custody.latest()
    assert (act.act, act.by, act.finished_at is not None) == ("sealed", "a test", True)
    manifest.close()


def test_a_rotation_leaves_nothing_that_the_old_key_opens(
    open_account: Manifest, manifest_url: str, clock: Clock
) -> None:
    for keys in ((OLD,), (NEW, OLD)):
        manifest = opened(manifest_url, clock, *keys)
        sealed(manifest)
        manifest.close()
    manifest = opened(manifest_url, clock, NEW)
    assert names(manifest) == EVERYONE
    again = manifest.land("patients", [row("P1", name="other")], run_id=3, reopen=False)
    assert again.changed == 1
    standing = manifest.protection.rotation.standing()
    assert (standing.by_key, standing.open) == ({Seals([NEW]).names[0]: 3}, 0)
    manifest.close()
    old = opened(manifest_url, clock, OLD)
    with pytest.raises(Permanent, match=SETTING):
        names(old)
    old.close()


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["no key", "another key"])
def test_without_its_key_a_sealed_row_is_an_error_that_says_what_to_set_and_nothing_is_lost(
    manifest_url: str, clock: Clock, keys: Sequence[str]
) -> None:
    """Quarantined, a million rows would be somebody's work; overwritten, nobody's any more."""
    manifest = opened(manifest_url, clock, OLD)
    filled(manifest)
    kept, held = stored(manifest, "payload"), manifest.balances()
    manifest.close()
    manifest = opened(manifest_url, clock, *keys)
    attempts = (
        lambda: manifest.pending_units("patients"),
        lambda: manifest.landed_units("patients", limit=9),
        lambda: list(manifest.contents.rows("patients")),
        lambda: manifest.land("patients", [row("P1", name="x")], run_id=2, reopen=True),
        lambda: manifest.land("others", [row("Q1")], run_id=2, reopen=True),
        lambda: sealed(manifest),
    )
    for attempt in attempts:
        with pytest.raises(Permanent) as caught:
            attempt()
        assert SETTING in str(caught.value)
        assert CANARY not in str(caught.value)
    assert stored(manifest, "payload") == kept
    assert manifest.balances() == held
    manifest.close()


def test_a_rotation_cut_off_is_taken_up_where_it_stopped(
    open_account: Manifest, manifest_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_assets.manifest.rotation.BATCH", 1)
    manifest = opened(manifest_url, clock, NEW)

    class Stopped(Exception):
        pass

    def stop(_rows: int) -> None:
        raise Stopped

    protection = manifest.protection
    with pytest.raises(Stopped):
        rotate(protection.rotation, protection.custody, by="a test", told=stop)
    assert protection.rotation.standing().open == 2
    assert names(manifest) == EVERYONE
    assert protection.custody.latest()[0].finished_at is None
    assert sealed(manifest)[0] == 2
    assert protection.rotation.standing().open == 0
    manifest.close()


def test_rows_may_land_while_everything_is_sealed(manifest_url: str, clock: Clock) -> None:
    manifest = opened(manifest_url, clock)
    for page in range(4):
        rows = [row(f"P{page}-{n}", name="before") for n in range(500)]
        manifest.land("patients", rows, run_id=1, reopen=False)
    manifest.close()
    manifest = opened(manifest_url, clock, NEW)
    failed: list[BaseException] = []

    def land() -> None:
        try:
            for page in range(4):
                rows = [row(f"P{page}-{n}", at=9, name="after") for n in range(0, 500, 2)]
                manifest.land("patients", rows, run_id=2, reopen=False)
        except BaseException as error:  # noqa: BLE001 - the main thread reports it
            failed.append(error)

    landing = threading.Thread(target=land)
    landing.start()
    sealed(manifest)
    landing.join()
    sealed(manifest)
    assert not failed
    found = [each.row["name"] for each in manifest.landed_units("patients", limit=9_999)]
    assert (found.count("before"), found.count("after")) == (1_000, 1_000)
    assert manifest.protection.rotation.standing().open == 0
    manifest.close()


def test_a_tombstone_that_keeps_an_old_row_does_not_keep_it_open(
    open_account: Manifest, manifest_url: str, clock: Clock
) -> None:
    """Its hash is new and masked, its payload old and open: one must not speak for the other."""
    manifest = opened(manifest_url, clock, NEW)
    manifest.land("patients", [tombstone("P1", at=9)], run_id=2, reopen=False)
    assert manifest.protection.rotation.standing().open == 3
    sealed(manifest)
    assert manifest.protection.rotation.standing().open == 0
    (gone,) = manifest.landed_units("patients", limit=1)
    assert (gone.deleted, gone.row["name"]) == (True, EVERYONE[0])
    manifest.close()


def test_what_stood_open_is_gone_from_sqlites_files_after_sealing(
    tmp_path: Path, clock: Clock
) -> None:
    """A page that was freed, or the log, would keep every row as it was; the control shows it."""
    url = f"sqlite:///{tmp_path / 'account.db'}"
    # Incompressible, so that the bytes of a payload stand in the file as they are.
    texts = [Fernet.generate_key().decode() for _ in range(200)]
    manifest = opened(url, clock)
    rows = [row(f"P{n}", name=text) for n, text in enumerate(texts)]
    manifest.land("patients", rows, run_id=1, reopen=False)
    before = stored(manifest, "payload")
    manifest.close()
    assert all(each in on_disk(url) for each in before)
    manifest = opened(url, clock, NEW)
    sealed(manifest)
    assert not any(each[20:60] in on_disk(url) for each in before)
    manifest.close()


def test_damage_to_a_sealed_row_is_said_and_not_taken_for_a_missing_key(
    manifest_url: str, clock: Clock
) -> None:
    manifest = opened(manifest_url, clock, NEW)
    filled(manifest)
    with manifest._engine.begin() as connection:
        broken = bytearray(stored(manifest, "payload")[0])
        broken[-1] ^= 1
        connection.execute(
            sa.text("UPDATE units SET payload = :it WHERE key = 'P1'"), {"it": bytes(broken)}
        )
    with pytest.raises(Permanent, match="damaged"):
        names(manifest)
    manifest.close()


@pytest.mark.parametrize(
    "bad",
    ["secret-canary", OLD[:-4], "ü" * 44, json.dumps(OLD)],
    ids=["a text", "a part of one", "not ASCII", "quoted"],
)
def test_what_is_no_key_is_refused_by_its_place_and_never_shown(
    tmp_path: Path, clock: Clock, bad: str
) -> None:
    with pytest.raises(Permanent) as caught:
        opened(f"sqlite:///{tmp_path / 'a.db'}", clock, NEW, bad)
    assert "entry 2" in str(caught.value)
    assert bad not in str(caught.value)


def test_states_are_counted_without_any_key(manifest_url: str, clock: Clock) -> None:
    """Who watches the balance need not be able to read the rows."""
    manifest = opened(manifest_url, clock, OLD)
    filled(manifest)
    manifest.close()
    manifest = opened(manifest_url, clock)
    assert manifest.balances()["patients"].by_state[State.MIGRATED] == 2
    manifest.close()


def test_two_who_may_be_one_person_are_still_found_when_the_key_changed_between_them(
    manifest_url: str, clock: Clock
) -> None:
    """Masked under two keys, the same name and birth date would look like two."""
    prints = {}
    for keys, unit in (((), 1), ((OLD,), 2), ((NEW, OLD), 3)):
        manifest = opened(manifest_url, clock, *keys)
        manifest.likenesses.note({unit: [("same-identifier", bytes.fromhex(PRINT))]})
        prints[keys] = stored_likenesses(manifest)
        manifest.close()
    assert [len(each) for each in prints.values()] == [1, 1, 1]
    assert bytes.fromhex(PRINT) in prints[()]
    assert bytes.fromhex(PRINT) not in b"".join(prints[OLD,])
    manifest = opened(manifest_url, clock)
    with pytest.raises(Permanent, match=SETTING):
        manifest.likenesses.note({4: [("same-identifier", bytes.fromhex(PRINT))]})
    manifest.close()


def stored_likenesses(manifest: Manifest) -> set[bytes]:
    with manifest._read.begin() as connection:
        found = connection.execute(sa.text("SELECT print FROM likenesses")).scalars()
        return {bytes(each) for each in found}
