"""`migration profile` and `migration register`, as a person runs them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from migration_assets.manifest import Manifest
from migration_assets_tests.cli.command import migration
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import PulledRow
from migration_assets_tests.profiling.landed import land

CANARY = "Qanarybird"
SOURCE = """
name: rooms
base_url: {url}
defaults: {{path: "{{stream}}", select: rows, id: patient_id}}
streams: []
"""


class _Rooms(BaseHTTPRequestHandler):
    """Serves two patients, one of whom nobody has on account."""

    def do_GET(self) -> None:
        """Serve them."""
        body = json.dumps({"rows": [_patient("P1"), _patient("P2") | {"gender": None}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def _patient(key: str) -> dict[str, object]:
    return {"patient_id": key, "last_name": CANARY, "gender": "F", "shoe_size": 41}


@pytest.fixture
def legacy() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Rooms)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def landed(tmp_path: Path, clock: Clock) -> Path:
    manifest = Manifest(f"sqlite:///{tmp_path / 'manifest.db'}", clock=clock)
    land(manifest, "patients", [PulledRow(f"P{n}", _patient(f"P{n}")) for n in range(8)])
    manifest.close()
    return tmp_path


def test_a_profile_is_a_table_a_page_and_json_that_only_its_owner_can_read(landed: Path) -> None:
    (landed / "out").mkdir()
    old = landed / "out" / "profile.html"
    old.write_text("old")
    old.chmod(0o644)
    ran = migration("profile", "patients", "--out", "out", folder=landed)
    assert ran.returncode == 0, ran.stderr
    assert "patients: 8 rows" in ran.stdout
    for name in ("profile.html", "profile.json"):
        path = landed / "out" / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert CANARY not in path.read_text()
    assert CANARY not in ran.stdout
    (patients,) = json.loads((landed / "out" / "profile.json").read_text())
    assert patients["rows"] == 8


def test_a_live_profile_lands_nothing(landed: Path, legacy: str) -> None:
    (landed / "source.yaml").write_text(SOURCE.format(url=legacy))
    ran = migration(
        "profile", "patients", "--live", "--json", folder=landed, MIGRATION_SOURCE="source.yaml"
    )
    assert ran.returncode == 0, ran.stderr
    (patients,) = json.loads(ran.stdout)
    gender = next(each for each in patients["fields"] if each["path"] == "gender")
    assert (patients["rows"], gender["kinds"]) == (2, {"text": 1, "null": 1})
    again = migration("profile", "patients", "--json", folder=landed)
    assert json.loads(again.stdout)[0]["rows"] == 8


def test_a_stream_nobody_landed_is_a_sentence(landed: Path) -> None:
    ran = migration("profile", "patiens", folder=landed)
    assert ran.returncode == 2
    assert "streams that are: patients" in ran.stderr


def test_a_populated_field_nobody_maps_makes_the_register_fail_loudly(landed: Path) -> None:
    ran = migration("register", folder=landed)
    assert ran.returncode == 1
    assert "POPULATED, NOT MAPPED" in ran.stdout
    assert "**patients.shoe_size**: 8 rows" in ran.stdout
    assert CANARY not in ran.stdout


@pytest.mark.parametrize("name", ["register.html", "register.md", "register.json"])
def test_a_register_is_written_as_its_file_is_called(landed: Path, name: str) -> None:
    ran = migration("register", "--out", name, folder=landed)
    assert ran.returncode == 1
    assert "! patients.shoe_size: populated in 8 rows, not mapped" in ran.stdout
    written = (landed / name).read_text()
    assert "Patient.gender" in written
    assert CANARY not in written
    assert migration("register", "--out", "register.pdf", folder=landed).returncode == 2
