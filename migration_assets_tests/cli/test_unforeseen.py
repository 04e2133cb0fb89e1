"""What the command says of an error that nobody foresaw."""

import sys

import pytest

from migration_assets.cli import app

CANARY = "Kanarienvogel"


def test_an_unforeseen_error_is_told_without_its_text_which_may_quote_a_row(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A traceback ends with what was in hand; where it was, is enough to find the bug."""

    def trip(*_args: object, **_options: object) -> None:
        try:
            int(CANARY)
        except ValueError as error:
            raise KeyError(f"row of {CANARY}") from error

    monkeypatch.setattr("migration_assets.connections.Manifest", trip)
    monkeypatch.setattr(sys, "argv", ["migration", "status"])
    with pytest.raises(SystemExit) as end:
        app()
    said = capfd.readouterr()
    assert end.value.code == 2
    assert CANARY not in said.out + said.err
    assert "unexpected KeyError" in said.err
    assert "connections.py" in said.err
    assert __file__ in said.err
