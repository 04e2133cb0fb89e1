"""A person's way through the UI, in Chromium: from an empty Medplum to a mended check.

One story, in the order in which a newcomer does it, on `dagster dev` as the README starts it. The
pictures of the docs are made here: MIGRATION_TEST_SCREENSHOTS names the folder they go to.
"""

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.medplum import MedplumClient, find_by_identifier
from migration_assets_tests.ui.browser import (
    HIGH,
    WIDE,
    around,
    browser_page,
    button,
    choose_in_graph,
    chromium_or_skip,
    picture,
)
from migration_assets_tests.ui.installation import Installation, installation, until

pytestmark = pytest.mark.timeout(900)

CHECK = "medplum_holds_what_the_manifest_says"
MEND = "migration reconcile Patient --repair missing --yes"


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Installation]:
    chromium_or_skip()
    with installation(tmp_path) as running:
        yield running


@pytest.fixture
def page(work: Installation) -> Iterator[Any]:
    with browser_page() as opened:
        yield opened


def go(page: Any, work: Installation, path: str) -> None:
    page.goto(f"{work.url}{path}", wait_until="domcontentloaded")


def test_a_person_migrates_follows_and_mends_from_the_ui(page: Any, work: Installation) -> None:
    _look_at_the_graph(page, work)
    _materialize_one_partition(page, work)
    _backfill_a_range(page, work)
    _backfill_everything(page, work)
    _look_at_the_balance(page, work)
    _turn_on_the_sensor(page, work)
    _see_a_change_arrive(page, work)
    _meet_a_failing_check_and_mend_it(page, work)
    until("the last run", lambda: all(_ended(each) for each in work.runs()))
    # A blocking check that fails stops its own run as well: that of the one that was met.
    others = [each for each in work.runs() if each["status"] != "SUCCESS"]
    assert [each["status"] for each in others] == ["FAILURE"], others


def _ended(run: dict[str, Any]) -> bool:
    return run["status"] in ("SUCCESS", "FAILURE", "CANCELED")


def _look_at_the_graph(page: Any, work: Installation) -> None:
    """Nine streams and the ten types they become, in the guide's five steps."""
    page.set_viewport_size({"width": 2000, "height": 1500})
    go(page, work, "/asset-groups")
    page.get_by_text("Materialize all (10)").wait_for()
    choose_in_graph(page, "Change graph to vertical", opposite="Change graph to horizontal")
    choose_in_graph(page, "Expand all groups", opposite="Collapse all groups")
    page.get_by_placeholder("Jump to…").locator("xpath=following::button[1]").click()
    page.reload(wait_until="domcontentloaded")  # which fits the graph into the window
    for name in ("DiagnosticReport", "patient_conditions", "Practitioner", "step_3_patients"):
        page.get_by_text(name, exact=True).first.wait_for()
    picture(page, work.folder, "graph", around(page, "foreignObject"))
    page.set_viewport_size({"width": WIDE, "height": HIGH})


def _materialize_one_partition(page: Any, work: Installation) -> None:
    """The button on an asset's page; one partition is a run, and no daemon's business."""
    go(page, work, "/assets/medplum/Organization")
    button(page, "Materialize…").click()
    button(page, "Latest").click()
    button(page, "Launch 1 run").click()
    until("the run", lambda: [each for each in work.runs() if _ended(each)])
    assert work.backfills() == []
    assert work.materialized("Organization") == work.partitions()[-1:]


def _backfill_a_range(page: Any, work: Installation) -> None:
    wanted = work.partitions()[1:4]
    go(page, work, "/assets/medplum/Practitioner")
    button(page, "Materialize…").click()
    page.get_by_text("Show all partitions").click()
    chosen = page.get_by_role("dialog").locator("input[type=text]").first
    chosen.fill(f"[{wanted[0]}...{wanted[-1]}]")
    chosen.press("Enter")
    page.get_by_text("3 partitions", exact=True).wait_for()
    button(page, "Launch backfill").click()
    _backfilled(work, 1)
    assert work.materialized("Practitioner") == wanted


def _backfill_everything(page: Any, work: Installation) -> None:
    """The dialog opens on the last 90 days: who does not say more gets three months."""
    go(page, work, "/asset-groups")
    page.get_by_text("Materialize all (10)").click()
    page.get_by_text("Show all partitions").click()
    button(page, "All").click()
    page.get_by_text(f"{len(work.partitions())} partitions", exact=True).wait_for()
    dialog = page.get_by_role("dialog")
    picture(page, work.folder, "backfill", around(page, "[role=dialog]", 0))
    button(dialog, "Launch backfill").click()
    _backfilled(work, 2)
    assert work.materialized("DiagnosticReport") == work.partitions()
    assert len(work.runs()) == 3  # one run each, of all types and all windows


def _backfilled(work: Installation, count: int) -> None:
    def done() -> bool:
        found = [each["status"] for each in work.backfills()]
        assert not [each for each in found if "FAIL" in each], found
        return found == ["COMPLETED_SUCCESS"] * count

    until("the backfill", done)


def _look_at_the_balance(page: Any, work: Installation) -> None:
    """One table that adds up; and figures that plot over time."""
    go(page, work, "/assets/medplum/Patient")
    page.get_by_text("rows_held", exact=True).first.wait_for()
    page.get_by_text("eligible", exact=True).first.wait_for()
    page.set_viewport_size({"width": 1900, "height": 950})  # the table is wide
    picture(page, work.folder, "asset")
    page.set_viewport_size({"width": WIDE, "height": HIGH})
    page.get_by_role("button", name="Plots").click()
    page.locator("canvas").first.wait_for()
    page.get_by_text("balance/pending").first.wait_for()


def _turn_on_the_sensor(page: Any, work: Installation) -> None:
    go(page, work, "/automation")
    page.get_by_text("legacy_changes", exact=True).first.click()
    page.get_by_text("Running", exact=True).wait_for()
    page.locator("label:has(input[type=checkbox])").first.click()
    query = (
        '{sensorOrError(sensorSelector: {repositoryLocationName: "migration_assets.definitions", '
        'repositoryName: "__repository__", sensorName: "legacy_changes"})'
        "{... on Sensor{sensorState{status}}}}"
    )
    until(
        "the sensor to be on",
        lambda: work.ask(query)["sensorOrError"]["sensorState"]["status"] == "RUNNING",
    )


def _patient(work: Installation) -> tuple[str, dict[str, Any]]:
    """A patient who is in Medplum: source key and resource."""
    with _client(work) as client:
        system = identifier_system("Patient")
        found = client.search("Patient", {"_count": "100"})
    for each in sorted(found, key=lambda one: str(one["id"])):
        for held in each["identifier"]:
            if held["system"] == system and re.fullmatch(r"P\d+", held["value"]):
                return held["value"], each
    raise AssertionError("No patient of the clinic is in Medplum.")


def _see_a_change_arrive(page: Any, work: Installation) -> None:
    key, before = _patient(work)
    with ClinicStore(work.home.clinic) as clinic:
        found = clinic.row("patients", key)
        assert found is not None
        row = {
            name: value
            for name, value in orjson.loads(found[0]).items()
            if name not in ("updated_at", "deleted_at")
        }
        clinic.put("patients", key, row | {"last_name": "Newname"}, now=datetime.now(UTC))

    def arrived() -> bool:
        with _client(work) as client:
            pairs = [(identifier_system("Patient"), key)]
            (now,) = find_by_identifier(client, "Patient", pairs)[pairs[0]]
        assert now["id"] == before["id"]
        return bool(now["name"][0]["family"] == "Newname")

    until("the change to arrive in Medplum", arrived)
    page.get_by_text("1 run requested").first.wait_for()
    picture(page, work.folder, "ticks")


def _meet_a_failing_check_and_mend_it(page: Any, work: Installation) -> None:
    """Somebody deletes a patient in Medplum; the check says how many, and how it is mended."""
    _key, patient = _patient(work)
    gone = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "DELETE", "url": f"Patient/{patient['id']}"}}],
    }
    with _client(work) as client:
        client.post_bundle(orjson.dumps(gone), 1)
    _execute_check(page, work, MEND)
    picture(page, work.folder, "failing-check")
    ran = work.migration(*shlex.split(MEND)[1:])
    assert ran.returncode in (0, 1), ran.stderr
    _execute_check(page, work, "none needed")


def _execute_check(page: Any, work: Installation, recovery: str) -> None:
    """Execute the check from its page, and read there what mends it."""
    known = {each["id"] for each in work.runs()}
    address = f"/assets/medplum/Patient?view=checks&checkDetail={CHECK}"
    go(page, work, address)
    button(page, "Execute").click()

    def executed() -> bool:
        mine = [each for each in work.runs() if each["jobName"] != "incremental_pull"]
        return any(_ended(each) for each in mine if each["id"] not in known)

    until("the check's run", executed)
    go(page, work, address)  # a page that is older may still show the verdict of before
    page.get_by_text(recovery).first.wait_for()


class _client:  # noqa: N801 - a context manager with a short name
    """A client of the sandbox, closed after use."""

    def __init__(self, work: Installation) -> None:
        secret = SecretStr(work.home.client_secret)
        self._opened = MedplumClient(work.running.sandbox.base_url, work.home.client_id, secret)

    def __enter__(self) -> MedplumClient:
        return self._opened

    def __exit__(self, *_error: object) -> None:
        self._opened.close()
