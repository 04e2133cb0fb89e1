"""The house keeps its shape: the walls stand, the rooms stay small, the names say something."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "migration_assets").rglob("*.py"))
BANNED_NAMES = {"utils", "helpers", "common", "base", "core", "misc", "manager"}
BANNED_VERBS = ("process_", "handle_", "do_")
LONGEST_MODULE = 350
LONG_FUNCTION = 50


def _functions(path: Path) -> list[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_the_walls_between_the_rooms_stand() -> None:
    """`make check` says it too; here a broken wall fails the suite."""
    lint = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_outgrows_a_reader(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


def test_few_functions_are_long() -> None:
    lengths = [
        (node.end_lineno or 0) - node.lineno for path in MODULES for node in _functions(path)
    ]
    assert sum(length > LONG_FUNCTION for length in lengths) <= 0.05 * len(lengths)


def test_no_file_and_no_function_has_a_name_that_says_nothing() -> None:
    for path in MODULES:
        assert path.stem not in BANNED_NAMES, path
        for node in _functions(path):
            # http.server's do_GET and the like are named by others
            assert not node.name.startswith(BANNED_VERBS) or node.name.isupper(), (path, node.name)


def test_every_module_says_what_it_is_for_and_every_room_what_does_not_belong() -> None:
    for path in MODULES:
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert said, path
    rooms = [
        path
        for path in MODULES
        if path.name == "__init__.py" and path.parent.parent == ROOT / "migration_assets"
    ]
    for path in rooms:
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert "not belong here" in " ".join(said.split()), path


def test_dagster_can_read_the_annotations_of_its_modules() -> None:
    """dagster.md: postponed annotations break resources and config."""
    for path in (ROOT / "migration_assets").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert "from __future__ import annotations" not in lines, path


def test_the_code_location_loads_with_nothing_set_and_opens_nothing(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('a socket was opened at import')\n"
        "socket.socket.connect = refuse\n"
        "from migration_assets.definitions import defs\n"
        "print(len(list(defs.resolve_all_asset_specs())))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= 19
    assert list(tmp_path.iterdir()) == []
