"""The report after a change of authority: who moved what, what services sent, what went back."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest
from migration_assets.manifest.inbox import Event
from migration_assets.manifest.write_back_ends import Settled, WriteBack
from migration_assets.manifest.write_backs import Seen
from migration_assets.mappings import discover
from migration_assets.steps.cohorts import note_all
from migration_assets_tests.signoff.account import CANARY, Account
from migration_assets_tests.signoff.markup import Page
from migration_assets_tests.signoff.test_report import (
    PRIVATE,
    WITH,
    page,
    report,
    test_a_screen_reader_and_a_keyboard_get_through_the_page,
    test_the_page_loads_nothing_and_sends_nothing,
    values,
)

pytestmark = pytest.mark.sandbox

__all__ = [
    "test_a_screen_reader_and_a_keyboard_get_through_the_page",
    "test_the_page_loads_nothing_and_sends_nothing",
]
ADOPTION = (
    '[Patient]\nphase = "read"\n'
    f'[Patient.cohorts.north]\norganization = "{CANARY}-O1"\nphase = "write"\n'
)


def lived(manifest: Manifest) -> None:
    """What a change of authority leaves on account."""
    switching = manifest.switching
    for was, becomes in (("rehearse", "dual_write"), ("dual_write", "backfill")):
        points = [{"holds": becomes == "dual_write", "said": f"said of {becomes}"}]
        forced = becomes == "backfill"
        why = f"{CANARY} agreed" if forced else None
        numbers = switching.begin(
            {"Patient": was}, becomes, by="a lead", evidence={"points": points}, forced=forced,
            reason=why, cohort="north" if forced else None,
        )  # fmt: skip
        switching.applied(numbers)
    switching.begin({"Patient": "backfill"}, "read", by="a lead", evidence={})
    run = manifest.start_run("inbox", pipeline_version="0")
    moment = datetime.now(UTC)
    for number in range(3):
        key = f"{CANARY}-new-{number % 2}"
        row = PulledRow(key, {"patient_id": key, "last_name": CANARY}, moment, False, None)
        event = Event(service="booking", key=str(number), stream="patients", content=bytes(number))
        manifest.inbox.accept(event, [row], run_id=run)
    seen = [Seen(fhir_id=f"id{n}", version_id=str(n), kind="edit") for n in range(4)]
    manifest.write_backs.note("Patient", seen)
    ends = (WriteBack.WRITTEN, WriteBack.CONFLICT, WriteBack.REFUSED)
    with manifest.lease("Patient", "write-back") as lease:
        for debt, state in zip(manifest.write_backs.due("Patient"), ends, strict=False):
            manifest.write_backs.settle(Settled(debt=debt, state=state), run_id=run, lease=lease)
    cutover = manifest.cutovers.begin("Patient", {}, by="a lead")
    for outcome, said in (("waits", "1 change pending"), ("done", "nothing is pending")):
        look = manifest.cutovers.look(cutover.id, "drain", by="a job")
        manifest.cutovers.looked(look, outcome, said, {"pending": 0, "key": f"{CANARY}-key"})
    manifest.cutovers.end(cutover.id, "rolled-back", by="a lead", reason=f"{CANARY} was slow")
    standing = read_adoption(ADOPTION).standing("Patient")
    note_all(manifest, discover()["Patient"], standing)


@pytest.fixture
def account(made: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A copy of the migrated account, and what came after."""
    folder = tmp_path / "lived"
    folder.mkdir()
    shutil.copy(made.folder / "manifest.db", folder)
    (folder / "adoption.toml").write_text(ADOPTION, encoding="utf-8")
    account = Account(f"sqlite:///{folder / 'manifest.db'}", folder)
    for name, value in account.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    manifest = Manifest(account.url, clock=lambda: datetime.now(UTC))
    lived(manifest)
    manifest.close()
    return account


def _text(private: str = "") -> str:
    (section,) = (
        each
        for each in Page(page(private)).root.every("section")
        if each.attributes.get("aria-labelledby") == "switching"
    )
    return " ".join(section.all_text.split())


def test_what_became_of_authority_events_and_edits_is_told_and_what_is_open_needs_a_person(
    account: Account,
) -> None:
    ran = report(PRIVATE, "--type", "Patient")
    assert ran.exit_code == 1
    told: dict[str, Any] = values(WITH)["switched"]
    cut_off, forced, first = told["changes"]
    assert (cut_off["done"], forced["cohort"], forced["forced"]) == (False, "north", True)
    assert first["points"] == [[True, "said of dual_write"]]
    (events,) = told["inbox"]
    assert (events["service"], events["events"], events["landed"]["new"]) == ("booking", 3, 2)
    (back,) = told["write_backs"]
    assert (back["seen"], back["states"]["conflict"], back["states"]["open"]) == (4, 1, 1)
    (agreement,) = told["agreement"]
    assert (agreement["resource_type"], agreement["unknown"]) == ("Patient", 2)
    assert [(each["name"], each["phase"], each["rows"]) for each in told["cohorts"]] == [
        ("", "read", 9), ("north", "write", 0),
    ]  # fmt: skip
    (cutover,) = told["cutovers"]
    (drained,) = cutover["steps"]
    assert (cutover["outcome"], drained["looks"], drained["said"]) == (
        "rolled-back", 2, "nothing is pending",
    )  # fmt: skip
    needs = {each["told"] for each in values(WITH)["needs"] if each["at"] == "switching"}
    assert len(needs) == 4
    text = _text(WITH)
    for said in ("part north", "against the gate", "cut off", "booking", "rolled back", "yes"):
        assert said in text


def test_without_patient_data_no_key_and_nothing_that_people_wrote_is_in_it(
    account: Account,
) -> None:
    report()
    assert CANARY not in page()
    assert CANARY not in Path("report/sign-off.json").read_text(encoding="utf-8")
    assert "(reason withheld)" in _text()
    (_own, north) = values()["switched"]["cohorts"]
    assert north["terms"]["organization"].startswith("#")
