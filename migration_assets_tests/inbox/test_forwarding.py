"""Whatever dies, an event is on account once, and no change of a service is without one."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migration_assets.inbox import Outbox, Unsent, send_event
from migration_assets.inbox.sending import send_event as really_send
from migration_assets.legacy import load_description
from migration_assets.manifest import Manifest
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.inbox.door import TOKEN, TOKENS, door, patient
from migration_assets_tests.scripted import NOW, START

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "outbox_service.py"
BIN = Path(sys.executable).parent


@contextmanager
def served(command: list[str], manifest_url: str, folder: Path) -> Iterator[tuple[Any, str]]:
    """The process of an inbox, and where it listens."""
    environment = {
        **os.environ,
        "MIGRATION_MANIFEST_URL": manifest_url,
        "MIGRATION_SOURCE": str(ROOT / "migration_assets" / "demo" / "clinic.yaml"),
        "MIGRATION_INBOX_TOKENS": TOKENS,
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[\d.:]+\d", line)
        assert found, process.communicate(timeout=10)
        yield process, found[0]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def event() -> dict[str, Any]:
    moment = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    return {"patient_id": "P1", "last_name": "CANARY-Roe", "updated_at": moment}


def test_an_inbox_that_is_killed_before_it_answers_has_the_event_once(
    manifest_url: str, tmp_path: Path
) -> None:
    """The service cannot know, and sends it again: to the verb, which ends cleanly."""
    dying = [sys.executable, "-m", "migration_assets_tests.inbox.dying"]
    with served(dying, manifest_url, tmp_path) as (process, url):
        with pytest.raises(Unsent):
            send_event(url, TOKEN, "patients", event(), key="k")
        assert process.wait(timeout=30) == -signal.SIGKILL
    verb = [str(BIN / "migration"), "inbox", "--port", "0"]
    with served(verb, manifest_url, tmp_path) as (process, url):
        told = send_event(url, TOKEN, "patients", event(), key="k")
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "CANARY" not in out + errors
        assert "scheduling → patients" in errors
    assert told["replayed"] is True
    with closing(Manifest(manifest_url, clock=lambda: datetime.now(UTC))) as manifest:
        assert manifest.balances()["patients"].eligible == 1
        assert manifest.inbox.waiting(["patients"]) == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MIGRATION_INBOX_TOKENS": ""}, "does not start without tokens"),
        ({"MIGRATION_INBOX_TOKENS": "scheduling=short"}, "token of scheduling is shorter"),
        ({"MIGRATION_INBOX_TOKENS": "0123456789abcdef"}, "entry 1 is not name=token"),
        ({"host": "0.0.0.0"}, "unencrypted"),  # noqa: S104 - refused
    ],
)
def test_what_would_let_in_anybody_is_refused_at_the_start(
    variables: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner  # noqa: PLC0415

    from migration_assets.cli.verbs import VERBS  # noqa: PLC0415

    monkeypatch.setenv("MIGRATION_SOURCE", str(ROOT / "migration_assets/demo/clinic.yaml"))
    monkeypatch.setenv("MIGRATION_MANIFEST_URL", f"sqlite:///{tmp_path / 'm.db'}")
    monkeypatch.setenv("MIGRATION_INBOX_TOKENS", TOKENS)
    host = variables.pop("host", "127.0.0.1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(VERBS, ["inbox", "--host", host, "--port", "0"])
    assert answer.exit_code != 0
    assert said in str(answer.exception)
    assert "0123456789abcdef" not in str(answer.exception)


SERVICE = """
import os, sqlite3, sys
from migration_assets.inbox import Outbox
box = Outbox("http://127.0.0.1:9", "t")
connection = sqlite3.connect(sys.argv[1])
box.create(connection)
connection.execute("CREATE TABLE patients (id TEXT, family TEXT)")
for key, ends in (("P1", "commit"), ("P2", "die")):
    connection.execute("INSERT INTO patients VALUES (?, 'Roe')", (key,))
    box.put(connection, "patients", {"id": key, "updated_at": "2026-01-01T00:00:00+00:00"})
    if ends == "commit":
        connection.commit()
os._exit(9)
"""


def test_a_service_that_dies_between_commit_and_forward_has_told_all_that_it_committed(
    tmp_path: Path, clock: Clock
) -> None:
    """P2 was never committed, neither the row nor the event."""
    clock.now = NOW
    path = tmp_path / "service.db"
    died = subprocess.run(
        [sys.executable, "-c", SERVICE, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert died.returncode == 9
    manifest = Manifest(blank_file(tmp_path / "m.db"), clock=clock)
    with (
        closing(manifest),
        door(manifest, clock=clock) as opened,
        closing(sqlite3.connect(path)) as connection,
    ):
        url = f"http://127.0.0.1:{opened.port}"

        def cut_off(*given: Any, **named: Any) -> None:
            really_send(*given, **named)
            raise KeyboardInterrupt  # the answer came, and the service dies before it keeps it

        with pytest.raises(KeyboardInterrupt):
            Outbox(url, TOKEN, send=cut_off).forward(connection)
        assert Outbox(url, TOKEN).forward(connection) == 1
        assert Outbox(url, TOKEN).forward(connection) == 0
        assert [each.key for each in manifest.landed_units("patients", limit=9)] == ["P1"]
        (taken,) = manifest.inbox.taken()
        assert taken.events == 1


def test_the_example_of_the_docs_tells_what_it_wrote(tmp_path: Path, clock: Clock) -> None:
    """Killed after it registered somebody, it has told of it with the next forward."""
    clock.now = datetime.now(UTC)
    manifest = Manifest(blank_file(tmp_path / "m.db"), clock=clock)
    clinic = load_description((ROOT / "migration_assets/demo/clinic.yaml").read_text())
    with closing(manifest), door(manifest, clock=clock, source=clinic) as opened:
        where = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "INBOX_URL": f"http://127.0.0.1:{opened.port}",
            "INBOX_TOKEN": TOKEN,
        }
        for words in (("register", "P1", "Roe"), ("forward",), ("forward",)):
            subprocess.run(
                [sys.executable, str(EXAMPLE), str(tmp_path / "service.db"), *words],
                env=where,
                check=True,
            )
        (unit,) = manifest.landed_units("patients", limit=9)
        assert (unit.key, unit.row["last_name"]) == ("P1", "Roe")
        (taken,) = manifest.inbox.taken()
        assert taken.events == 1


def test_an_outbox_on_postgresql_keeps_what_is_refused_and_waits_for_an_inbox_that_is_away(
    postgres_url: str, tmp_path: Path, clock: Clock
) -> None:
    clock.now = NOW
    manifest = Manifest(blank_file(tmp_path / "m.db"), clock=clock)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    with closing(manifest), psycopg.connect(postgres_url) as connection:
        away = Outbox("http://127.0.0.1:9", TOKEN, mark="%s", sleep=wait)
        away.create(connection)
        away.put(connection, "patients", patient("P1", START))
        away.put(connection, "patients", {"id": "no time"})
        away.put(connection, "patients", {"id": "P1"}, deleted=True)
        connection.commit()
        with pytest.raises(KeyboardInterrupt):
            away.forward_for_ever(lambda: connection)
        assert waited == [0.5, 1.0, 2.0]
        with door(manifest, clock=clock) as opened:
            box = Outbox(f"http://127.0.0.1:{opened.port}", TOKEN, mark="%s")
            assert box.forward(connection) == 2
            ((_key, stream, why),) = box.refused(connection)
            assert (stream, "does not say when" in why, "no time" in why) == (
                "patients",
                True,
                False,
            )
        (unit,) = manifest.landed_units("patients", limit=9)
        assert unit.deleted


def test_what_cannot_be_taken_now_is_told_from_what_never_can(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with the time to wait: the same event is taken once the database is back."""
    clock.now = NOW
    manifest = Manifest(blank_file(tmp_path / "m.db"), clock=clock, sleep=_gone)
    with closing(manifest), door(manifest, clock=clock) as opened:
        url = f"http://127.0.0.1:{opened.port}"
        with monkeypatch.context() as away:
            away.setattr(manifest.inbox, "accept", _away)
            away.setattr(manifest.inbox, "waiting", _away)
            with pytest.raises(Unsent) as unsent:
                send_event(url, TOKEN, "patients", patient("P1", START), key="k")
            assert unsent.value.wait == 5
            assert opened.ask("GET", "/healthz").status == 503
        with pytest.raises(Unsent, match="401"):  # a token being exchanged says nothing of events
            send_event(url, "wrong", "patients", {}, key="k")
        told = send_event(url, TOKEN, "patients", patient("P1", START), key="k")
        assert told["replayed"] is False


def _gone(_seconds: float) -> None:
    raise AssertionError("nobody waits here")


def _away(*_given: Any, **_named: Any) -> Any:
    from migration_assets.manifest.outages import Away  # noqa: PLC0415

    raise Away("the database is away")
