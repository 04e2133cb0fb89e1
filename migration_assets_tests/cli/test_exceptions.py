"""What people see and say of rows that did not arrive: keys and reasons, never a row."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from migration_assets.cli.choosing import Streams
from migration_assets.cli.exceptions import _table
from migration_assets.cli.verbs import VERBS
from migration_assets.errors import Permanent
from migration_assets.manifest import Attempt, Group, Manifest, Selection, Settlement, State
from migration_assets.mappings import discover
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import PulledRow, patient_token

CANARY = "Canaryson"


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Manifest:
    """One patient of each fate, and two rows with one key."""
    source = tmp_path / "clinic.yaml"
    source.write_text(
        "name: none\nbase_url: http://127.0.0.1:9/\n"
        "streams: [{name: patients, id: patient_id, path: p, select: rows, pager: {type: none}}]\n"
    )
    url = blank_file(tmp_path / "account.db")
    monkeypatch.setenv("MIGRATION_MANIFEST_URL", url)
    monkeypatch.setenv("MIGRATION_SOURCE", str(source))
    manifest = Manifest(url, clock=clock)
    run = manifest.start_run("dagster-abc", pipeline_version="0")
    rows = [PulledRow(key, _row(key)) for key in ("P1", "P2", "P3")]
    twins = [PulledRow("P4", {**_row("P4"), "gender": each}) for each in ("M", "F")]
    manifest.land("patients", [*rows, *twins], run_id=run, reopen=True)
    one, two, three = manifest.pending_units("patients")
    name = patient_token("P2")
    refused = Attempt(name, "PUT", "b", 0, "400", "failed", "invalid", None, None)
    manifest.settle(
        [
            _settled(one.id, State.QUARANTINED, "unmapped-code", field="gender"),
            _settled(two.id, State.REJECTED, "medplum-400-invalid", attempts=(refused,)),
            _settled(three.id, State.SKIPPED, "test-record"),
        ],
        run_id=run,
    )
    return manifest


def _settled(unit: int, state: State, reason: str, **more: Any) -> Settlement:
    return Settlement(unit_id=unit, revision=1, state=state, reason=reason, **more)


def _row(key: str) -> dict[str, str]:
    return {
        "patient_id": key,
        "first_name": "Zoë",
        "last_name": CANARY,
        "birth_date": "1980-01-01" if key in {"P1", "P2"} else "1980",
    }


def say(*words: str) -> Result:
    return CliRunner().invoke(VERBS, list(words))


def told(*words: str) -> Any:
    answer = say(*words, "--json")
    assert CANARY not in answer.output
    return json.loads(answer.output)


def test_reasons_come_with_counts_and_keys_and_no_row(account: Manifest) -> None:
    reasons = {each["reason"]: each for each in told("exceptions")["reasons"]}
    assert {name: (each["count"], each["open"]) for name, each in reasons.items()} == {
        "unmapped-code": (1, 1),
        "medplum-400-invalid": (1, 1),
        "test-record": (1, 0),
        "duplicate-key": (2, 2),
    }
    assert reasons["unmapped-code"]["example_keys"] == ["P1"]
    shown = say("exceptions")
    assert "unmapped-code" in shown.output
    assert CANARY not in shown.output


def test_a_unit_is_told_with_what_was_tried_and_what_is_next(account: Manifest) -> None:
    (unit,) = told("exceptions", "P2")["units"]
    assert (unit["state"], unit["reason"]) == ("rejected", "medplum-400-invalid")
    assert [(each["status"], each["outcome"]) for each in unit["attempts"]] == [("400", "invalid")]
    assert unit["next_action"].startswith("see the outcome code")
    shown = say("exceptions", "P2").output
    assert "PUT 400 failed invalid" in shown
    assert "next:" in shown


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["--reason", "unmapped-code"], {"P1"}),
        (["--owner", "anna"], {"P2"}),
        (["--run", "dagster-abc", "--state", "rejected"], {"P2"}),
        (
            ["--run", "1", "--open", "--type", "Patient", "--state", "quarantined", "--limit", "1"],
            1,
        ),
    ],
)
def test_each_filter_lists_those_units(
    account: Manifest, words: list[str], keys: set[str] | int
) -> None:
    assert told("assign", "P2", "--owner", "anna")["assigned"] == 1
    found = {each["key"] for each in told("exceptions", *words)["units"]}
    assert found == keys if isinstance(keys, set) else len(found) == keys


def test_a_decision_leaves_the_open_list_and_stays_in_the_counts(account: Manifest) -> None:
    words = ["--decision", "accept", "--approver", "bob", "--by", "anna", "--note", "known"]
    assert told("assign", "--reason", "unmapped-code", *words)["assigned"] == 1
    assert "unmapped-code" not in {
        each["reason"] for each in told("exceptions", "--open")["reasons"]
    }
    (unit,) = told("exceptions", "P1")["units"]
    assert (unit["open"], unit["next_action"]) == (False, "none: accepted")
    assert unit["decision"]["approver"] == "bob"
    assert "approved by bob" in say("exceptions", "P1").output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["assign", "P1"], "Nothing to assign"),
        (["assign", "--owner", "anna"], "Nothing says which"),
        (["assign", "P1", "--decision", "accept"], "needs --approver"),
        (["assign", "P1", "--decision", "defer"], "needs --due"),
        (["assign", "P1", "--owner", "anna", "--due", "2026-12-01"], "belong to a --decision"),
        (["assign", "P9", "--owner", "anna"], "Nothing was changed"),
        (["redeliver"], "Nothing says which"),
        (["redeliver", "P1", "--overwrite"], "need --approver"),
        (["redeliver", "--believe", "P4"], "need --approver"),
        (["redeliver", "P1", "--believe", "P4", "--approver", "bob"], "leave keys"),
        (["redeliver", "--believe", "P9", "--approver", "bob"], "No unit has"),
        (["exceptions", "--state", "lost"], "There are: quarantined"),
        (["exceptions", "--type", "Nope"], "No mapping makes Nope"),
        (["resume", "Nope"], "No mapping makes Nope"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    account: Manifest, words: list[str], sentence: str
) -> None:
    answer = say(*words)
    assert isinstance(answer.exception, Permanent), answer.output
    assert sentence in str(answer.exception)
    assert all(not each["history"] for each in told("exceptions", "--run", "1")["units"]), (
        "something was written"
    )


def test_a_deferred_unit_is_due_on_its_day(account: Manifest) -> None:
    say("assign", "P1", "--decision", "defer", "--due", "2026-12-01")
    (unit,) = told("exceptions", "P1")["units"]
    assert (unit["due"], unit["next_action"]) == ("2026-12-01", "look again by 2026-12-01")


def test_a_dry_run_says_what_would_be_tried_and_changes_nothing(account: Manifest) -> None:
    answer = told("redeliver", "--type", "Patient", "--dry-run")
    assert answer["redelivered"] == {"Patient": 3}
    assert answer["held_at_landing"] == {"duplicate-key": 2}
    assert account.pending_units("patients") == []


def test_without_medplum_redelivered_units_are_mapped_again_and_wait(account: Manifest) -> None:
    answer = told("redeliver", "P1", "--by", "anna")
    assert answer["outcomes"] == {"pending": 1}
    (unit,) = account.decisions.listed(Selection(keys=("P3",)), limit=9)
    assert unit.decisions == ()


def test_redelivered_units_that_may_be_one_person_are_held_until_they_are_sent_on(
    account: Manifest,
) -> None:
    held = told("redeliver", "P1", "P2", "--by", "anna")
    assert held["outcomes"] == {"quarantined: probable-duplicate": 2}
    (unit, _other) = told("exceptions", "--reason", "probable-duplicate")["units"]
    assert unit["next_action"].endswith("if they are two people, redeliver")
    assert told("redeliver", "P1", "P2", "--by", "bob")["outcomes"] == {"pending": 2}


def test_of_two_rows_with_one_key_the_believed_one_is_tried(account: Manifest) -> None:
    keys = [each["key"] for each in told("exceptions", "--reason", "duplicate-key")["units"]]
    other = next(key for key in keys if key != "P4")
    dry = told("redeliver", "--believe", other, "--approver", "bob", "--dry-run")
    assert dry["superseded"] == ["P4"]
    answer = told("redeliver", "--believe", other, "--approver", "bob")
    assert (answer["outcomes"], answer["superseded"]) == ({"pending": 1}, ["P4"])


def test_a_paused_stream_is_told_by_status_and_refuses_until_it_is_resumed(
    account: Manifest,
) -> None:
    why = {"unmapped-code at gender": 120}
    account.pauses.pause("patients", run_id=1, failed=120, seen=200, reasons=why)
    (paused,) = told("status")["paused"]
    assert (paused["type"], paused["failed"]) == ("Patient", 120)
    assert "migration resume Patient" in say("status").output
    refused = say("redeliver", "P1")
    assert "paused since" in str(refused.exception)
    assert account.pending_units("patients") == []
    assert told("resume", "Patient", "--by", "anna", "--note", "map mended")["resumed"] == [
        "Patient"
    ]
    assert say("resume", "Patient").exit_code == 1
    assert told("redeliver", "P1")["outcomes"] == {"pending": 1}


def test_patients_that_may_be_one_person_are_told_by_key_alone(account: Manifest) -> None:
    (found,) = told("exceptions", "--probable-duplicates")
    assert found["rule"] == "same-name-and-birth-date"
    assert [each["key"] for each in found["units"]] == ["P1", "P2"]
    shown = say("exceptions", "--probable-duplicates").output
    assert "P1, P2" in shown
    assert CANARY not in shown


def test_eighty_columns_show_reason_and_field_whole() -> None:
    groups = [
        Group(
            each.stream,
            State.QUARANTINED,
            "awaiting-reference",
            "MedicationRequest.requester",
            1_234_567,
            1_234_567,
            ("0123456789012345678901234567890123456789", "[/]", "a\nb"),
        )
        for each in discover().values()
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(_table(groups, Streams(tuple(discover().values()))))
    text = out.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines())
    for each in discover().values():
        assert each.resource_type in text
    for word in ("awaiting-reference", "1,234,567", "[/]", "a\\nb", "quarantined"):
        assert word in text
