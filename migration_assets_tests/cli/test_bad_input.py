"""What people meet first when a setting, the source or Medplum is wrong: a sentence, no loss."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets_tests.cli.command import migration

SECRET = "invented"
CLIENT = "5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11"
DESCRIPTION = """
name: wrong
base_url: {url}
auth: {{type: header, name: X-API-Key, value: {{env: LEGACY_KEY}}}}
http: {{attempts: 1}}
defaults:
  path: "{{stream}}"
  select: rows
  id: id
streams: []
"""


class _Handler(BaseHTTPRequestHandler):
    """Answers each stream's path as the test's ``answers`` say."""

    answers: tuple[int, str, bytes] = (200, "application/json", b"{}")

    def do_GET(self) -> None:
        """Serve it."""
        status, kind, body = self.answers
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def legacy() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with start_sandbox(
        None, client_id=CLIENT, client_secret=SECRET, quota_per_minute=50_000
    ) as running:
        yield running


def _check(folder: Path, url: str, **variables: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code and findings of ``migration check --json`` against a source at ``url``."""
    (folder / "source.yaml").write_text(DESCRIPTION.format(url=url))
    ran = migration(
        "check",
        "--json",
        folder=folder,
        MIGRATION_SOURCE="source.yaml",
        LEGACY_KEY="canary-key",
        **variables,
    )
    assert "canary" not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.returncode, {each["claim"]: each for each in orjson.loads(ran.stdout)["findings"]}


def _medplum(sandbox: Sandbox, **changed: str) -> dict[str, str]:
    return {
        "MEDPLUM_BASE_URL": sandbox.base_url,
        "MEDPLUM_CLIENT_ID": CLIENT,
        "MEDPLUM_CLIENT_SECRET": SECRET,
    } | changed


@pytest.fixture
def dead_url() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_nothing_set_says_what_to_set(tmp_path: Path) -> None:
    ran = migration("check", folder=tmp_path)
    assert ran.returncode == 1
    assert "MIGRATION_SOURCE" in ran.stdout
    assert "MEDPLUM_BASE_URL" in ran.stdout


def test_a_contradictory_setting_is_one_sentence(tmp_path: Path) -> None:
    ran = migration("status", folder=tmp_path, MEDPLUM_CLIENT_ID="x")
    assert ran.returncode == 2
    assert "belong together" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_source_that_is_down_is_named_and_everything_else_is_still_checked(
    tmp_path: Path, dead_url: str, sandbox: Sandbox
) -> None:
    code, found = _check(tmp_path, dead_url, **_medplum(sandbox))
    assert code == 1
    assert found["stream patients"]["verdict"] == "failed"
    assert found["Medplum reachable, credentials accepted"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("status", "kind", "body", "named"),
    [
        (401, "application/json", b'{"error":"no"}', "LEGACY_KEY"),
        (200, "text/html", b"<html>Maintenance canary</html>", "base_url"),
        (200, "application/json", b'{"error":"canary"}', "rows"),
        (503, "application/json", b"{}", "503"),
    ],
)
def test_a_source_that_refuses_or_lies_is_told_apart_from_an_empty_one(
    tmp_path: Path, legacy: str, status: int, kind: str, body: bytes, named: str
) -> None:
    _Handler.answers = (status, kind, body)
    code, found = _check(tmp_path, legacy)
    assert code == 1
    assert found["stream patients"]["verdict"] == "failed"
    assert named in found["stream patients"]["told"]


def test_rows_nobody_can_use_are_counted_not_crashed_on(tmp_path: Path, legacy: str) -> None:
    rows = [
        b'"not an object"',
        b'{"first_name":"no id"}',
        b'{"id":"P1","first_name":"Jos\xe9"}',
        b'{"id":"P2","first_name":"%s"}' % (b"x" * 20_000_000),
    ]
    body = b'{"rows":[' + b",".join(rows) + b"]}"
    _Handler.answers = (200, "application/json", body)
    code, found = _check(tmp_path, legacy)
    assert code == 0
    told = found["stream patients"]["told"]
    assert found["stream patients"]["verdict"] == "warning"
    assert "one page of 4 rows" in told
    assert "invalid-utf8" in told


def test_a_wrong_medplum_secret_is_explained_although_it_is_a_400(
    tmp_path: Path, legacy: str, sandbox: Sandbox
) -> None:
    _Handler.answers = (200, "application/json", b'{"rows":[]}')
    code, found = _check(tmp_path, legacy, **_medplum(sandbox, MEDPLUM_CLIENT_SECRET="canary"))
    assert code == 1
    told = found["Medplum reachable, credentials accepted"]["told"]
    assert "MEDPLUM_CLIENT_SECRET" in told


def test_medplum_being_down_is_named(tmp_path: Path, legacy: str, dead_url: str) -> None:
    _Handler.answers = (200, "application/json", b'{"rows":[]}')
    variables = {
        "MEDPLUM_BASE_URL": dead_url,
        "MEDPLUM_CLIENT_ID": CLIENT,
        "MEDPLUM_CLIENT_SECRET": SECRET,
    }
    code, found = _check(tmp_path, legacy, **variables)
    assert code == 1
    assert "MEDPLUM_BASE_URL" in found["Medplum reachable, credentials accepted"]["told"]


def test_a_project_without_transactions_is_told_what_it_lacks(
    tmp_path: Path, legacy: str, sandbox: Sandbox
) -> None:
    _Handler.answers = (200, "application/json", b'{"rows":[]}')
    sandbox.change(transactions=False)
    code, found = _check(tmp_path, legacy, **_medplum(sandbox))
    sandbox.change(transactions=True)
    assert code == 0, "groups still arrive, one member after the other"
    assert found["Medplum transactions"]["verdict"] == "warning"
    assert "transaction-bundles" in found["Medplum transactions"]["told"]


def test_a_type_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    ran = migration("preview", "Patinet", folder=tmp_path)
    assert ran.returncode == 2
    assert "Patient" in ran.stderr
