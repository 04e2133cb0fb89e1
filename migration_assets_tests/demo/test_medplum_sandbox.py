"""The sandbox's process and its memory: what recorded conversations cannot show."""

import base64
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from migration_assets.demo import medplum_sandbox
from migration_assets.demo.medplum_sandbox import Sandbox, SandboxOptions, launch, start_sandbox
from migration_assets.errors import Permanent
from migration_assets_tests.demo.replay import Replay, ask, bundle, patient, put, send

pytestmark = pytest.mark.sandbox

OPTIONS = SandboxOptions(
    client_id="4d1c5a1e-0000-4000-8000-00000000c11e",
    client_secret="a-secret-of-the-tests",
    quota_per_minute=1_000_000_000,
)
SOURCES = Path(medplum_sandbox.__file__).parent / "sandbox"


@pytest.fixture(scope="module")
def server() -> Path:
    return medplum_sandbox.install_packages()


@pytest.fixture(scope="module")
def shared(server: Path) -> Iterator[Sandbox]:
    with launch(OPTIONS, None, server) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    shared.change(quota_per_minute=OPTIONS.quota_per_minute, transactions=True, strict=True)
    return shared


def test_what_was_answered_survives_a_kill(server: Path, tmp_path: Path) -> None:
    with launch(OPTIONS, tmp_path, server) as first:
        made = json.loads(ask(first, "PUT", "Patient?identifier=urn:t|1", patient("1")).text)
        ask(first, "PUT", "Patient?identifier=urn:t|1", patient("1", active=True))
        ask(first, "POST", "Patient", patient("2"))
        ask(first, "DELETE", "Patient?identifier=urn:t|2")
        os.kill(first.pid, signal.SIGKILL)
    with launch(OPTIONS, tmp_path, server) as second:
        assert second.stats()["resources"] == {"Patient": 1}
        history = json.loads(ask(second, "GET", f"Patient/{made['id']}/_history").text)
        assert history["total"] == 2
        again = ask(second, "PUT", "Patient?identifier=urn:t|1", patient("1", active=True))
        assert again.status == 200
        assert second.stats() | {"versions": 0, "unchanged": 1} == second.stats()


def test_a_torn_last_line_costs_only_what_was_never_answered(server: Path, tmp_path: Path) -> None:
    with launch(OPTIONS, tmp_path, server) as sandbox:
        ask(sandbox, "POST", "Patient", patient("1"))
    with (tmp_path / "journal.jsonl").open("ab") as journal:
        journal.write(b'[{"put":{"resourceType":"Pat')
    with launch(OPTIONS, tmp_path, server) as sandbox:
        ask(sandbox, "POST", "Patient", patient("2"))
    with launch(OPTIONS, tmp_path, server) as sandbox:
        assert sandbox.stats()["resources"] == {"Patient": 2}


def test_a_damaged_journal_is_named_instead_of_loaded_in_part(server: Path, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("nonsense\n[]\n")
    with pytest.raises(Permanent, match="damaged at byte 0"):
        launch(OPTIONS, tmp_path, server)


def test_a_failed_transaction_leaves_nothing_on_disk(server: Path, tmp_path: Path) -> None:
    with launch(OPTIONS, tmp_path, server) as sandbox:
        failed = bundle(sandbox, "transaction", put("1"), put("2", birthDate="x"))
        assert failed.status == 400
        assert (tmp_path / "journal.jsonl").read_bytes() == b""
        assert bundle(sandbox, "transaction", put("1"), put("2")).status == 200
    assert (tmp_path / "journal.jsonl").read_bytes().count(b"\n") == 1


def test_only_the_owner_may_read_the_state(server: Path, tmp_path: Path) -> None:
    with launch(OPTIONS, tmp_path / "state", server) as sandbox:
        ask(sandbox, "POST", "Binary", {"resourceType": "Binary", "data": "aGk="})
    for path in (tmp_path / "state").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_two_sandboxes_cannot_share_a_state_folder(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two journals in one file would be one damaged journal."""
    monkeypatch.setattr(medplum_sandbox, "_LOCK_SECONDS", 0)
    with (
        launch(OPTIONS, tmp_path, server),
        pytest.raises(Permanent, match="Another Medplum sandbox uses"),
    ):
        launch(OPTIONS, tmp_path, server)


def test_the_sandbox_dies_with_a_killed_parent(server: Path) -> None:
    """Ctrl-C, a crash or a kill of the demo must leave nothing running."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from migration_assets.demo.medplum_sandbox import SandboxOptions, launch\n"
        "options = SandboxOptions(client_id='c', client_secret='s')\n"
        "print(launch(options, None, Path(sys.argv[1])).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(server)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Readable when the child is gone: nothing to poll for, nothing to sleep for.
        watch = os.pidfd_open(child)
        parent.kill()
    gone, _, _ = select.select([watch], [], [], 30)
    os.close(watch)
    assert gone


def test_a_missing_node_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(Permanent, match=re.escape("pip install 'migration_assets[demo]'")):
        medplum_sandbox.install_packages()


def test_a_taken_port_is_named(server: Path, shared: Sandbox) -> None:
    port = int(shared.base_url.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(Permanent, match="EADDRINUSE"):
        launch(replace(OPTIONS, port=port), None, server)


def test_packages_are_built_whole_by_two_processes_at_once(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-copied folder that looks finished would break every later start."""
    packages = server.parents[1] / "node_modules"
    built: list[Path] = []

    def link(folder: Path) -> None:
        built.append(folder)
        (folder / "node_modules").symlink_to(packages)

    monkeypatch.setattr(medplum_sandbox, "_npm_ci", link)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(medplum_sandbox.install_packages(tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(set(found)) == 1
    assert {path.name for path in found[0].parent.iterdir()} == {
        path.name for path in SOURCES.glob("*.mjs")
    }


def test_the_lock_file_names_no_host() -> None:
    """Every site has its own registry; integrity hashes hold wherever a package comes from."""
    lock = (SOURCES / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert "http" not in lock
    packages = {name: entry for name, entry in json.loads(lock)["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())


def test_the_secret_is_in_no_argument_and_no_repr(shared: Sandbox) -> None:
    command = Path(f"/proc/{shared.pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{shared.pid}/environ").read_bytes()
    assert OPTIONS.client_secret.encode() not in command + environment
    assert OPTIONS.client_secret not in repr(OPTIONS)


def test_an_expired_token_is_refused_like_a_wrong_one(sandbox: Sandbox, server: Path) -> None:
    options = replace(OPTIONS, token_lifetime_seconds=1)
    with launch(options, None, server) as short, Replay(short) as replay:
        step = {"request": {"method": "GET", "path": "fhir/R4/Patient?_count=1"}}
        answer = replay.send(step)
        deadline = threading.Event()
        while answer.status == 200:
            deadline.wait(0.05)
            answer = replay.send(step)
        assert answer.status == 401
        assert json.loads(answer.text)["issue"][0]["details"]["text"] == "Unauthorized"


def test_raw_content_comes_back_byte_for_byte_after_a_restart(server: Path, tmp_path: Path) -> None:
    headers = {"Content-Type": "application/pdf"}
    raw = {"method": "POST", "path": "fhir/R4/Binary", "headers": headers, "text": "%PDF-1.7 ..."}
    with launch(OPTIONS, tmp_path, server) as sandbox:
        made = json.loads(send(sandbox, raw).text)
    with launch(OPTIONS, tmp_path, server) as sandbox:
        answer = ask(sandbox, "GET", f"Binary/{made['id']}")
        assert answer.text == raw["text"]
        assert answer.headers["content-type"] == "application/pdf"


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET // HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /fhir/R4/Patient?_cursor=nonsense HTTP/1.1\r\nHost: x\r\n\r\n",
        (
            b"POST /fhir/R4 HTTP/1.1\r\nHost: x\r\n"
            b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        ),
        b"POST /fhir/R4 HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{",
        b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_a_broken_request_breaks_nobody_else(sandbox: Sandbox, request_head: bytes) -> None:
    address = sandbox.base_url.removeprefix("http://").rstrip("/").split(":")
    authorization = base64.b64encode(f"{OPTIONS.client_id}:{OPTIONS.client_secret}".encode())
    head = request_head.replace(b"Host: x", b"Host: x\r\nAuthorization: Basic " + authorization)
    with socket.create_connection((address[0], int(address[1])), timeout=10) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert ask(sandbox, "GET", "Patient?_count=1").status == 200


def test_an_unknown_setting_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(Permanent, match="qouta"):
        sandbox.change(qouta=1)


def test_start_sandbox_needs_no_more_than_a_client(tmp_path: Path) -> None:
    with start_sandbox(
        tmp_path, client_id="c", client_secret="s", quota_per_minute=1000
    ) as sandbox:
        assert sandbox.stats()["settings"]["quota_per_minute"] == 1000
    sandbox.stop()
