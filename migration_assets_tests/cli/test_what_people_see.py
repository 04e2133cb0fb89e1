"""What the command says on an ordinary terminal, when it is stopped, and when it finds nothing."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from migration_assets.cli import app, verbs
from migration_assets.cli.demo import _here
from migration_assets.cli.output import STATE_STYLES, balance_table
from migration_assets.manifest import Balance, State
from migration_assets.mappings import discover
from migration_assets.reconciliation.balance import TypeBalance
from migration_assets_tests.cli.command import migration


def test_eighty_columns_show_every_type_and_every_state_whole() -> None:
    """Cut short, Practitioner and PractitionerRole are the same word."""
    numbers = dict.fromkeys(State, 0) | {State.MIGRATED: 900}
    balance = Balance(eligible=900, by_state=numbers)
    kinds = [
        TypeBalance(name, balance, None if name == each.resource_type else each.resource_type)
        for each in discover().values()
        for name in each.types
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(balance_table(kinds))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["type", "rows", *STATE_STYLES] in lines
    assert {each.resource_type for each in kinds} <= {line[0] for line in lines if line}


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(130)], ids=["raised", "by typer"])
def test_ctrl_c_says_that_nothing_is_lost(
    end: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer makes a bare exit code of a Ctrl-C; a person wants to know what became of the rows."""

    def stopped() -> None:
        raise end

    monkeypatch.setattr(verbs, "VERBS", stopped)
    with pytest.raises(SystemExit) as ended:
        app()
    assert ended.value.code == 130
    assert "nothing is lost" in capsys.readouterr().err


def test_an_unknown_type_is_answered_with_every_type_that_can_be_asked_for(tmp_path: Path) -> None:
    asked = migration("preview", "Nope", folder=tmp_path)
    assert asked.returncode == 2
    assert "ClinicalImpression" in asked.stderr


def test_a_key_that_is_not_on_account_is_not_called_an_empty_stream(tmp_path: Path) -> None:
    asked = migration(
        "preview",
        "Patient",
        "--key",
        "P1",
        folder=tmp_path,
        MIGRATION_SOURCE=str(_source(tmp_path)),
        MIGRATION_MANIFEST_URL=f"sqlite:///{tmp_path / 'account.db'}",
    )
    assert "on account" in asked.stdout, asked.stderr


def test_commands_to_copy_name_the_folder_unless_the_shell_finds_these_very_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After `make demo` the environment is not activated: bare `dagster dev` is not found."""
    ours = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(ours))
    assert not _here()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert _here().strip("'") == f"{ours}/"
    monkeypatch.chdir(ours.parent)
    assert _here() == f"{ours.name}/"


def _source(folder: Path) -> Path:
    path = folder / "clinic.yaml"
    path.write_text("name: none\nbase_url: http://127.0.0.1:9/\nstreams: []\n")
    return path
