"""`migration demo` from outside: the whole product once through, as a newcomer runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from migration_assets.demo import migration as demo_migration
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.home import Home
from migration_assets.demo.nasty_rows import Fate, NastyRow
from migration_assets.demo.population import generate
from migration_assets.demo.services import services
from migration_assets.manifest import Manifest
from migration_assets.mappings import discover
from migration_assets.medplum import MedplumClient, find_by_identifier
from migration_assets_tests.cli.command import founded, migration, start, three_months

pytestmark = pytest.mark.timeout(300)

CANARY = "Kanarienvogel"
ROOT = Path(__file__).parents[2]
TEN_TYPES = {
    "Practitioner", "PractitionerRole", "Organization", "Patient", "Condition",
    "MedicationRequest", "Encounter", "ClinicalImpression", "Observation", "DiagnosticReport",
}  # fmt: skip
GUIDE = "http://your-source-system.com"


@dataclass(frozen=True)
class Ran:
    """A demo that ran twice."""

    folder: Path
    nasty: tuple[NastyRow, ...]
    first: subprocess.CompletedProcess[str]
    first_status: dict[str, Any]
    second: subprocess.CompletedProcess[str]
    second_status: dict[str, Any]


def _status(folder: Path) -> dict[str, Any]:
    ran = migration("status", "--json", folder=folder)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two runs of `migration demo` over a clinic in which every patient bears a canary name."""
    folder = tmp_path_factory.mktemp("demo")
    home, nasty = Home(folder / ".demo"), list[NastyRow]()
    now = datetime.now(UTC)
    home.create()
    with ClinicStore(home.clinic) as store:
        store.load(generate(25, 3, now, canary=CANARY, on_nasty=nasty.append))
    demo_migration.keep_adoption(home)
    three_months(home, now)
    first = migration("demo", folder=folder)
    assert first.returncode == 0, first.stdout + first.stderr
    first_status = _status(folder)
    second = migration("demo", folder=folder)
    return Ran(folder, tuple(nasty), first, first_status, second, _status(folder))


def test_every_row_of_ten_types_has_an_outcome(ran: Ran) -> None:
    types = ran.first_status["types"]
    assert set(types) == TEN_TYPES
    for name, numbers in types.items():
        outcomes = {key: number for key, number in numbers.items() if key != "eligible"}
        assert numbers["eligible"] == sum(outcomes.values()) > 0, name
        assert numbers["pending"] == 0, name
        assert numbers["migrated"] > 0, name


def test_a_second_run_finds_everything_unchanged_and_writes_nothing(ran: Ran) -> None:
    assert ran.second.returncode == 0
    assert "wrote 0 resource versions" in ran.second.stdout
    for name, numbers in ran.second_status["types"].items():
        before = ran.first_status["types"][name]
        assert numbers["migrated"] == 0, name
        assert numbers["unchanged"] == before["migrated"], name
        assert numbers["quarantined"] == before["quarantined"], name


def test_it_prints_the_balance_the_reasons_and_where_to_look_next(ran: Ran) -> None:
    for said in ("Balance", "quarantined", "unmapped-code", "dagster dev", "each is there, once"):
        assert said in ran.first.stdout


def test_every_nasty_row_met_the_fate_that_was_foretold(ran: Ran) -> None:
    """None crashed the run, none was guessed at, and none that is fine was held back."""
    manifest = Manifest(
        f"sqlite:///{ran.folder / '.demo' / 'manifest.db'}", clock=lambda: datetime.now(UTC)
    )
    held = {
        (each.stream, key)
        for stream in {each.stream for each in ran.nasty}
        for each in manifest.exceptions(stream)
        for key in _keys(manifest, each.stream, each.reason, each.field)
    }
    known = {
        (mapping.stream, unit.key)
        for mapping in discover().values()
        for unit in manifest.landed_units(mapping.stream, limit=10_000)
    }
    manifest.close()
    for row in ran.nasty:
        if not row.key:  # its unit's key is made from its content
            continue
        assert (row.stream, row.key) in known, row
        expected = row.fate in (Fate.QUARANTINED, Fate.AWAITING)
        assert ((row.stream, row.key) in held) is expected, row


def _keys(manifest: Manifest, stream: str, reason: str, field: str) -> Iterator[str]:
    """Every key of an exception: ``exceptions`` itself shows only a few."""
    import sqlalchemy as sa  # noqa: PLC0415 - a question only this test asks

    query = sa.text(
        "SELECT key FROM units WHERE stream = :stream AND coalesce(reason, '') = :reason "
        "AND coalesce(field, '') = :field AND state IN ('quarantined', 'rejected', 'skipped')"
    )
    with manifest._engine.begin() as connection:
        values = {"stream": stream, "reason": reason, "field": field}
        yield from connection.execute(query, values).scalars()


def test_no_patient_reaches_the_terminal_the_event_log_or_any_file_but_the_account(
    ran: Ran,
) -> None:
    """Dagster's UI has no access control, and terminals are copied into tickets."""
    assert CANARY not in ran.first.stdout + ran.first.stderr + ran.second.stdout
    needle = CANARY.encode()
    allowed = {"clinic.db", "clinic.db-wal", "manifest.db", "manifest.db-wal"}
    searched = 0
    for path in (ran.folder / ".demo").rglob("*"):
        inside_sandbox = (ran.folder / ".demo" / "medplum") in path.parents
        if path.is_file() and path.name not in allowed and not inside_sandbox:
            searched += 1
            assert needle not in path.read_bytes(), path
    assert searched > 5


def test_the_guides_own_rows_are_in_medplum_as_the_guide_shows_them(ran: Ran) -> None:
    """The stored resources; what Medplum adds (ids, meta, displays of references) apart."""
    home = Home(ran.folder / ".demo")
    with services(home) as running:
        client = MedplumClient(
            running.sandbox.base_url, home.client_id, SecretStr(home.client_secret)
        )

        def held(kind: str, name: str, key: str) -> dict[str, Any]:
            (only,) = find_by_identifier(client, kind, [(f"{GUIDE}/{name}", key)])[
                f"{GUIDE}/{name}", key
            ]
            return only

        john = held("Patient", "patientId", "P001")
        assert (john["birthDate"], john["gender"]) == ("1980-07-15", "male")
        pressure = held("Condition", "patientConditionId", "PC001")
        assert pressure["subject"]["reference"] == f"Patient/{john['id']}"
        assert pressure["onsetDateTime"] == "2022-03-15"
        assert pressure["code"]["coding"] == [
            {"system": f"{GUIDE}/conditionId", "code": "HT001", "display": "Hypertension"},
            {
                "system": "http://hl7.org/fhir/sid/icd-10",
                "code": "I10",
                "display": "Essential (primary) hypertension",
            },
        ]
        checkup = held("Encounter", "encounterId", "E001")
        assert checkup["period"]["start"] == "2023-06-15T00:00:00Z"
        assert checkup["class"]["code"] == "AMB"
        note = held("ClinicalImpression", "clinicalImpressionId", "E001")
        assert note["encounter"]["reference"] == f"Encounter/{checkup['id']}"
        assert note["summary"].startswith("Routine check-up.")
        assert held("Encounter", "encounterId", "E002")["class"]["code"] == "EMER"


def test_preview_shows_a_row_beside_its_resource_without_any_server(ran: Ran) -> None:
    shown = migration("preview", "ClinicalImpression", "--key", "E001", "--json", folder=ran.folder)
    assert shown.returncode == 0, shown.stderr
    (only,) = json.loads(shown.stdout)
    assert [each["resourceType"] for each in only["resources"]] == [
        "Encounter",
        "ClinicalImpression",
    ]
    assert only["problems"] == []
    assert "P001" in migration("preview", "Patient", "--key", "P001", folder=ran.folder).stdout


def test_check_finds_everything_in_place_and_leaves_no_server_behind(ran: Ran) -> None:
    checked = migration("check", "--json", folder=ran.folder)
    assert checked.returncode == 0, checked.stdout
    verdicts = {each["claim"]: each["verdict"] for each in json.loads(checked.stdout)["findings"]}
    assert verdicts["Medplum transactions"] == "ok"
    assert verdicts["stream patients"] in ("ok", "warning")
    _wait_until_nothing_runs(ran.folder)


def test_a_row_that_vanished_without_a_trace_is_found_by_a_sweep_and_removed(ran: Ran) -> None:
    """The last of the tests on this clinic: it changes it."""
    again = migration("demo", "--change", "8", folder=ran.folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 more vanished without a trace" in again.stdout
    swept = migration("sweep", "--json", folder=ran.folder)
    assert swept.returncode == 0, swept.stdout + swept.stderr
    found = json.loads(swept.stdout)
    assert sum(each["gone"] for each in found) == 1, "the API itself confirms it: 404"
    assert sum(each["waiting"] for each in found) == 0
    assert all(each["pending"] == 0 for each in _status(ran.folder)["types"].values())
    _wait_until_nothing_runs(ran.folder)


def test_an_interrupted_demo_leaves_nothing_running_and_ends_balanced_next_time(
    tmp_path: Path,
) -> None:
    founded(tmp_path, patients=30)
    process = start("demo", folder=tmp_path)
    account = tmp_path / ".demo" / "manifest.db"
    _wait_for(lambda: account.exists() and account.stat().st_size > 100_000, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    _wait_until_nothing_runs(tmp_path)
    again = migration("demo", "--change", "8", folder=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "4 updated, 2 new, 1 deleted" in again.stdout
    assert "1 more vanished without a trace" in again.stdout
    assert all(each["pending"] == 0 for each in _status(tmp_path)["types"].values())
    reset = migration("demo", "--reset", folder=tmp_path)
    assert reset.returncode == 0
    assert not (tmp_path / ".demo").exists()
    assert not (tmp_path / ".env").exists()


def test_an_eleventh_type_is_one_hand_written_file(tmp_path: Path) -> None:
    """Asset, schedule, demo endpoint and contract tests come with it; nothing else changes."""
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("migration_assets", "migration_assets_tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    _drop_in(tmp_path / "migration_assets" / "mappings" / "location.py")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    found = (
        "from pathlib import Path; from migration_assets_tests.cli.command import founded; "
        "founded(Path.cwd(), patients=10)"
    )
    assert run("-c", found).returncode == 0
    command = ("-c", "from migration_assets.cli import app; app()")
    made = run(*command, "demo")
    assert made.returncode == 0, made.stdout + made.stderr
    numbers = json.loads(run(*command, "status", "--json").stdout)["types"]
    assert numbers["Location"]["migrated"] == 2
    contract = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "Location",
                "migration_assets_tests/test_every_mapping.py")  # fmt: skip
    assert run(*contract).returncode != 0, "a missing golden file must fail"
    assert run(*contract, "--update-golden").returncode == 0
    checked = run(*contract)
    assert checked.returncode == 0, checked.stdout


def _drop_in(path: Path) -> None:
    """README's example of a mapping, word for word: it is the one hand-written file."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = readme.split("```python\n", 1)[1].split("```", 1)[0]
    assert "Location" in code
    path.write_text(code, encoding="utf-8")


def _wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it never got that far"
        time.sleep(0.05)


def _wait_until_nothing_runs(folder: Path) -> None:
    """No process whose command line or working folder is this demo's is left."""
    deadline = time.monotonic() + 60
    while left := _processes(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def _processes(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                where = str((entry / "cwd").readlink())
            except (OSError, ProcessLookupError):
                continue
            if str(folder) in command or where == str(folder):
                found.append(command)
    return found
