"""The clinic's process: it starts in words, ends with its parent and keeps its keys to itself."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from migration_assets.demo.clinic_server import start_clinic
from migration_assets.errors import Permanent
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY, found, get

_PARENT = """
import sys
from pathlib import Path
from migration_assets.demo.clinic_server import start_clinic
clinic = start_clinic(Path(sys.argv[1]), api_key="a", admin_key="b")
print(clinic._port, flush=True)
sys.stdin.read()
"""


def test_leaving_it_leaves_nothing_running_and_says_so_by_its_exit(tmp_path: Path) -> None:
    with start_clinic(found(tmp_path), api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        assert get(clinic, "api").status_code == 200
    clinic.stop()
    assert clinic._process.returncode == 0


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, told: signal.Signals) -> None:
    with start_clinic(found(tmp_path), api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        os.kill(clinic.pid, told)
        assert clinic._process.wait(30) == 0


def test_it_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    path = found(tmp_path)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        connected = socket.create_connection(("127.0.0.1", port), timeout=30)
        parent.kill()
    with connected, suppress(ConnectionResetError):
        assert connected.recv(1) == b""  # hung up on, within the time-out
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)


def test_ctrl_c_in_the_terminal_is_the_parents_to_deal_with(tmp_path: Path) -> None:
    with start_clinic(found(tmp_path), api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        assert os.getsid(clinic.pid) == os.getpgid(clinic.pid) == clinic.pid


def test_no_key_is_in_its_command_line(tmp_path: Path) -> None:
    with start_clinic(found(tmp_path), api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        asked = ["ps", "-o", "args=", "-p", str(clinic.pid)]
        command = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert "clinic_server" in command
    assert API_KEY not in command
    assert ADMIN_KEY not in command


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Permanent, match=f"port {port}"):
            start_clinic(found(tmp_path), port=port, api_key="a", admin_key="b")


def test_a_port_is_kept_from_one_start_to_the_next(tmp_path: Path) -> None:
    """Links of the first start must still lead somewhere."""
    path = found(tmp_path)
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as first:
        get(first, "api")
        port = first._port
    with start_clinic(path, port=port, api_key=API_KEY, admin_key=ADMIN_KEY) as second:
        assert get(second, "api").status_code == 200
        assert second.base_url == first.base_url


def test_a_clinic_that_is_not_there_is_not_founded_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="There is no clinic"):
        start_clinic(tmp_path / "clinic.db", api_key="a", admin_key="b")
    assert not list(tmp_path.iterdir())


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = found(tmp_path)
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        clinic.put("patients", "P777", {"patient_id": "P777"})
        os.kill(clinic.pid, signal.SIGKILL)
        clinic._process.wait(30)
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        assert get(clinic, "api/patients/P777").status_code == 200


def test_it_says_nothing_of_what_it_is_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """URLs hold keys of patients, so there is no access log."""
    with start_clinic(found(tmp_path), api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        get(clinic, "api/patients/P001")
        get(clinic, "api/patients", page_token="P001")
        assert clinic._process.stdout is not None
        os.set_blocking(clinic._process.stdout.fileno(), False)
        assert not clinic._process.stdout.read()
    assert capfd.readouterr() == ("", "")
