"""``migration report``: what it says, what it must not say, and that anybody can read it."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner, Result

from migration_assets.cli.verbs import VERBS
from migration_assets.errors import Permanent
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Choice, Decision, Manifest, Selection
from migration_assets_tests.signoff.account import CANARY, Account, purged
from migration_assets_tests.signoff.markup import Page

pytestmark = pytest.mark.sandbox

PRIVATE = "--with-patient-data"


def report(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(VERBS, ["report", *arguments])


def values(private: str = "") -> Any:
    """The JSON that was written."""
    return json.loads(Path(f"report/sign-off{private}.json").read_bytes())


def page(private: str = "") -> str:
    """The page that was written."""
    return Path(f"report/sign-off{private}.html").read_text(encoding="utf-8")


WITH = "-with-patient-data"


def test_it_says_what_became_of_every_row_and_who_looks_after_the_rest(account: Account) -> None:
    """Medplum is gone by now, and no legacy API was ever there: the account is enough."""
    ran = report("--seed", "7", PRIVATE)
    assert ran.exit_code == 1, ran.output
    found = values(WITH)
    patients = next(each for each in found["types"] if each["resource_type"] == "Patient")
    assert (patients["numbers"]["eligible"], patients["numbers"]["migrated"]) == (8, 7)
    assert patients["holds"]
    assert [name for name, states in patients["over_time"] if states] == [
        "2025-01", "2025-02", "2025-03", "2025-04", "2025-05", "2025-06",
    ]  # fmt: skip
    (odd,) = (each for each in found["exceptions"] if each["resource_type"] == "Patient")
    assert (odd["reason"], odd["field"], odd["open"]) == ("unmapped-code", "gender", 1)
    assert odd["said"] == [
        {
            "owner": "dr-owner", "choice": "fix", "approver": None, "due": "2020-01-01",
            "overdue": True, "note": f"{CANARY} rang", "count": 1,
        }
    ]  # fmt: skip
    assert {(each["field"], each["code"], each["count"]) for each in found["unmapped_codes"]} == {
        ("gender", f"{CANARY}-code", 1),
        ("type", CANARY, 1),
    }
    assert [
        (each["resource_type"], each["whole"], each["agrees"]) for each in found["comparisons"]
    ] == [("Organization", True, True), ("Patient", True, True)]
    assert found["never_compared"] == ["Encounter", "ClinicalImpression"]
    assert found["runs"][0]["rows"] == 14
    assert found["runs"][0]["answers"] >= 12
    text = page(WITH)
    for told in ("dr-owner", "overdue", "due 2020-01-01", "THIS FILE CONTAINS PATIENT DATA"):
        assert told in text


def test_a_chart_shows_the_row_beside_what_medplum_confirmed_element_by_element(
    account: Account,
) -> None:
    report("--seed", "7", "--patients", "9", PRIVATE)
    charts = {each["row"]["key"]: each for each in values(WITH)["charts"]["charts"]}
    busy = charts[f"{CANARY}-3"]
    assert busy["row"]["source"] == "confirmed"
    pairs = {each["field"]: each for each in busy["row"]["pairs"]}
    assert pairs["gender"] == {
        "field": "gender", "value": "F", "fate": "rewritten", "why": "",
        "elements": [["Patient.gender", "female"]],
    }  # fmt: skip
    assert pairs["city"]["elements"] == [["Patient.address.city", CANARY]]
    assert pairs["phone"]["elements"] == [["Patient.telecom.value", f"+1 555 {CANARY}"]]
    assert (pairs["birth_date"]["fate"], pairs["unknown_field"]["fate"]) == ("same", "unread")
    (visits,) = busy["related"]
    assert (visits["resource_type"], visits["count"], len(visits["shown"])) == ("Encounter", 4, 3)
    assert visits["shown"][0]["resource_types"] == ["Encounter", "ClinicalImpression"]
    assert [(each["key"], each["reason"]) for each in busy["not_arrived"]] == [
        (f"{CANARY}-E0", "unmapped-code")
    ]
    assert charts[f"{CANARY}-odd"]["row"]["source"] == "none"
    assert all(
        each["row"]["source"] == "confirmed" for key, each in charts.items() if "odd" not in key
    )
    assert "&lt;b&gt;here&lt;/b&gt;" in page(WITH)
    assert "<b>" not in page(WITH)


def test_patients_are_chosen_again_by_the_same_seed_and_for_their_risk(account: Account) -> None:
    def chosen(*arguments: str) -> dict[str, list[str]]:
        report(PRIVATE, "--patients", "2", *arguments)
        found: dict[str, list[str]] = {"repeatable": [], "random": [], "risk": []}
        for each in values(WITH)["charts"]["charts"]:
            found[each["way"]].append(each["row"]["key"])
        return found

    drawn = [chosen("--seed", str(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(each["repeatable"]) for each in drawn}) == 1
    assert drawn[1]["random"] != drawn[2]["random"]
    every = [key for keys in drawn[0].values() for key in keys]
    assert len(every) == len(set(every)) == 6
    report(PRIVATE, "--patients", "8", "--seed", "1")
    why = {
        reason: each["row"]["key"]
        for each in values(WITH)["charts"]["charts"]
        for reason in each["why"]
    }
    assert why["It has the most related records."] == f"{CANARY}-3"
    assert why["It has the longest name."] == f"{CANARY}-6"
    assert why["It has the earliest date of birth."] == f"{CANARY}-0"
    assert why["It has the latest date of birth."] == f"{CANARY}-6"
    assert why["Its row says the least: most fields are empty."] == f"{CANARY}-odd"
    report(PRIVATE, "--patients", "1")
    assert f"--seed {values(WITH)['charts']['seed']}" in page(WITH)


def test_without_patient_data_no_value_key_code_or_note_gets_out(account: Account) -> None:
    """Every value of every row holds the canary, and so do the keys, a code and a note."""
    ran = report("--patients", "9")
    written = page() + Path("report/sign-off.json").read_text(encoding="utf-8")
    assert CANARY.lower() not in (written + ran.output).lower()
    assert "1950" not in written
    hashed = {each["row"]["key"] for each in values()["charts"]["charts"]}
    assert len(hashed) == 8
    assert all(re.fullmatch(r"#[0-9a-f]{8}", each) for each in hashed)
    report("--patients", "9")
    again = {each["row"]["key"] for each in values()["charts"]["charts"]}
    assert not hashed & again, "a salt that stays lets keys be tried until one fits"


def test_the_files_are_their_owners_only_even_over_an_old_one_that_was_not(
    account: Account,
) -> None:
    Path("report").mkdir(mode=0o755)
    Path("report/sign-off-with-patient-data.html").write_text("old", encoding="utf-8")
    Path("report/sign-off-with-patient-data.html").chmod(0o644)
    report(PRIVATE)
    report()
    assert {each.stat().st_mode & 0o777 for each in Path("report").iterdir()} == {0o600}
    assert len(list(Path("report").iterdir())) == 4


def test_it_exits_with_0_only_where_nothing_needs_a_person(account: Account) -> None:
    clean = report("--type", "Organization")
    assert (clean.exit_code, values()["needs"]) == (0, []), clean.output
    assert values()["charts"] is None
    assert values()["chosen_types"] == ["Organization"]
    assert "Ready" in page()
    assert report("--type", "Patient").exit_code == 1
    told = [each["told"] for each in values()["needs"]]
    assert any("nobody has explained" in each for each in told)
    assert any("past their due date" in each for each in told)


def test_an_unknown_type_is_refused(account: Account) -> None:
    assert isinstance(report("--type", "Patients").exception, Permanent)


def test_purged_rows_are_said_to_be_purged(made: Account, account: Account) -> None:
    with purged(made):
        report("--seed", "7", "--patients", "9", PRIVATE)
    charts = {each["row"]["key"]: each for each in values(WITH)["charts"]["charts"]}
    (visits,) = charts[f"{CANARY}-3"]["related"]
    assert {each["source"] for each in visits["shown"]} == {"purged"}
    assert visits["shown"][0]["pairs"] == []
    assert "The row was purged by the retention policy" in page(WITH)
    (act,) = values(WITH)["custody"]
    assert (act["act"], act["rows"], act["by"]) == ("purged", 4, "tester")
    streams = {each["stream"]: each["purged"] for each in values(WITH)["streams"]}
    assert (streams["encounters"], streams["patients"]) == (4, 0)


def test_rows_that_are_encrypted_are_read_with_the_key_and_not_without(
    manifest_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    """On each database, for most of what the report reads is SQL of its own."""
    key = Fernet.generate_key().decode()
    manifest = Manifest(manifest_url, clock=clock, keys=[key])
    number = manifest.start_run("test", pipeline_version="0")
    row = {"patient_id": "P1", "last_name": CANARY}
    sound = PulledRow("P1", row, None, False, None)
    broken = PulledRow("P2", row, None, False, "lone-surrogate")
    manifest.land("patients", [sound, broken], run_id=number, reopen=True)
    accepted = Decision(by="x", owner="y", choice=Choice.ACCEPT, approver="z")
    manifest.decisions.assign(Selection(keys=("P2",), streams=("patients",)), accepted)
    manifest.pauses.pause("patients", run_id=number, failed=1, seen=2, reasons={"x": 1})
    manifest.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIGRATION_MANIFEST_URL", manifest_url)
    assert isinstance(report(PRIVATE).exception, Permanent)
    monkeypatch.setenv("MIGRATION_ENCRYPTION_KEYS", key)
    assert report(PRIVATE).exit_code == 1
    found = values(WITH)
    assert CANARY in page(WITH)
    assert found["encrypted"]
    (line,) = found["exceptions"]
    assert (line["reason"], line["open"], line["said"][0]["approver"]) == ("lone-surrogate", 0, "z")
    assert [(each["stream"], each["failed"]) for each in found["pauses"]] == [("patients", 1)]
    assert [each["told"] for each in found["needs"]][-1] == "Streams stand still."


def test_an_account_on_which_nothing_is_yet_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIGRATION_MANIFEST_URL", f"sqlite:///{tmp_path / 'new.db'}")
    assert report().exit_code == 1
    assert [each["told"] for each in values()["needs"]] == ["Nothing is on account yet."]
    Page(page())


def test_both_variants_have_one_shape_and_the_shape_is_known(account: Account) -> None:
    """Whoever reads the JSON relies on it: what changes here changes ``FORMAT``."""
    report("--seed", "7", "--patients", "9")
    report("--seed", "7", "--patients", "9", PRIVATE)
    plain, private = values(), values(WITH)
    assert set(plain) == set(private)
    assert plain["format"] == 1
    assert {
        name: sorted(plain[name][0] if isinstance(plain[name], list) else plain[name])
        for name in (
            "types", "exceptions", "comparisons", "streams", "runs", "quota", "switched", "charts",
        )
    } == {
        "types": [
            "holds", "numbers", "over_time", "owner", "phase", "resource_type", "review",
            "stream", "version", "versions", "within",
        ],
        "exceptions": [
            "count", "field", "keys", "open", "reason", "resource_type", "said", "state", "told",
            "unsaid",
        ],
        "comparisons": [
            "agrees", "checked", "counts", "expected", "finished_at", "found", "mapping_version",
            "points", "query", "resource_type", "scope", "searches", "started_at", "whole",
        ],
        "streams": [
            "behind_seconds", "current_until", "deleted", "last_window_at", "mark", "paused",
            "purged", "resource_type", "rows", "stream", "sweep_gone", "sweep_verdict", "swept_at",
            "windows",
        ],
        "runs": [
            "answers", "finished_at", "id", "label", "rows", "rows_per_second", "seconds",
            "started_at", "version",
        ],
        "quota": ["compared", "heard_at", "left", "limit", "open"],
        "switched": [
            "agreement", "changes", "cohorts", "cutovers", "inbox", "waiting", "write_backs",
        ],
        "charts": ["charts", "of_each", "patients", "purged", "seed"],
    }  # fmt: skip
    assert [each["section"] for each in plain["sign_off"]] == [
        "balance", "exceptions", "left-out", "comparison", "current", "switching", "mappings",
        "patients", "whole",
    ]  # fmt: skip


@pytest.mark.parametrize("private", [False, True])
def test_a_screen_reader_and_a_keyboard_get_through_the_page(
    account: Account, private: bool
) -> None:
    report("--patients", "9", *([PRIVATE] if private else []))
    root = Page(page(WITH if private else "")).root
    (html,) = root.every("html")
    assert html.attributes["lang"] == "en"
    ids = [each.attributes["id"] for each in root.every() if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    assert [each.name for each in root.every("main", "header", "footer")] == [
        "header", "main", "footer",
    ]  # fmt: skip
    levels = [int(each.name[1]) for each in root.every("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    for table in root.every("table"):
        (caption,) = table.every("caption")
        assert caption.all_text.strip()
        assert all(each.attributes.get("scope") in ("col", "row") for each in table.every("th"))
    labels = {each.attributes["for"] for each in root.every("label")}
    fields = [each.attributes["id"] for each in root.every("input")]
    assert labels == set(fields)
    assert all(list(each.every("legend")) for each in root.every("fieldset"))
    for each in root.every("section", "nav", "svg"):
        named = each.attributes.get("aria-labelledby")
        hidden = each.attributes.get("aria-hidden") == "true"
        assert hidden or named in ids or each.attributes.get("aria-label"), each.name
    targets = {str(each.attributes["href"])[1:] for each in root.every("a")}
    assert targets <= set(ids)
    for each in root.every("div"):
        if each.attributes.get("class") == "wide":
            assert each.attributes.get("tabindex") == "0"


def test_the_page_loads_nothing_and_sends_nothing(account: Account) -> None:
    report("--patients", "9", PRIVATE)
    root = Page(page(WITH)).root
    policy = next(each for each in root.every("meta") if "http-equiv" in each.attributes)
    assert "default-src 'none'" in str(policy.attributes["content"])
    assert not list(root.every("script", "link", "img", "iframe", "object", "form"))
    assert not [each for each in root.every() if {"src", "action"} & each.attributes.keys()]
    assert all(str(each.attributes["href"]).startswith("#") for each in root.every("a"))
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", page(WITH))


def test_colours_of_text_stand_out_from_what_is_behind_them(account: Account) -> None:
    """WCAG's 4.5:1, for every colour the style sheet gives to text, on its own ground or white."""
    report()
    style = page().partition("<style>")[2].partition("</style>")[0]
    seen = 0
    for rule in re.findall(r"\{([^{}]*)\}", style):
        text = re.search(r"(?<![-\w])color: (#[0-9a-f]{6})", rule)
        if text:
            ground = re.search(r"background: (#[0-9a-f]{6})", rule)
            assert _contrast(text[1], ground[1] if ground else "#ffffff") >= 4.5, rule
            seen += 1
    assert seen >= 6


def _contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        red, green, blue = (
            each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
