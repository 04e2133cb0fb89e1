"""The pages of docs/ are true: every command in them runs, every block of code loads.

A page is a story: its blocks run in the order in which they stand, in a project that ``migration
new`` wrote. Verbs of ``migration`` run in this process, everything else in its own.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from migration_assets.adoption import read_adoption
from migration_assets.cli.verbs import VERBS
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.demo.home import Home
from migration_assets.demo.services import services
from migration_assets.errors import MigrationError
from migration_assets.legacy import load_description
from migration_assets.mappings import discover
from migration_assets.settings import read_settings
from migration_assets_tests.bots.project import installed_or_skipped
from migration_assets_tests.cli.command import environment, migration

pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
# Runs until it is stopped: migration_assets_tests/drills and ui start it and use it.
_STAYS = {"dagster dev", "migration inbox"}
# In the order in which a newcomer reads them.
PAGES = (
    "first-type", "describing-an-api", "backfilling", "operating", "adoption", "dual-write",
    "cutover", "write-back", "scaling", "security", "bots",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1], found[2])


ALL = [each for page in PAGES for each in blocks(page)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project of the first page, in a folder of its own, its demo clinic at work.

    Three months instead of 25: what changed before the first of them, it pulls.
    """
    folder = tmp_path_factory.mktemp("docs")
    made = migration("new", "my_clinic", "--patients", "12", folder=folder)
    assert made.returncode == 0, made.stderr
    settings = folder / "my_clinic" / ".env"
    told = settings.read_text(encoding="utf-8")
    (first,) = re.findall(r"(?m)^MIGRATION_START=(.+)$", told)
    start = told.replace(f"MIGRATION_START={first}", f"MIGRATION_START={_months_ago(2)}")
    settings.write_text(start, encoding="utf-8")
    with services(Home(folder / "my_clinic" / ".demo")):
        yield folder / "my_clinic"


def _months_ago(number: int) -> str:
    months = datetime.now(UTC).year * 12 + datetime.now(UTC).month - 1 - number
    return f"{months // 12}-{months % 12 + 1:02}-01"


@pytest.mark.parametrize("block", ALL, ids=lambda each: f"{each.page}:{each.line}-{each.language}")
def test_what_a_page_shows_works(
    block: Block, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    _SHOWN[block.language](block, project)


def test_every_page_is_listed_and_every_block_is_of_a_kind_that_is_run() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {each.stem for each in DOCS.glob("*.md")} - {"README"}
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == pages
    assert pages - {"glossary"} == set(PAGES)
    assert {each.language for each in ALL} <= set(_SHOWN)


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_verb_of_the_command_is_in_the_docs_or_the_readme() -> None:
    told = "".join(
        each.read_text(encoding="utf-8") for each in [*DOCS.glob("*.md"), ROOT / "README.md"]
    )
    for command in VERBS.registered_commands:
        assert f"migration {command.name}" in told, command.name


def _console(block: Block, project: Path) -> None:
    for line in block.text.splitlines():
        if line.startswith("npm "):  # its own test runs all of them: migration_assets_tests/bots
            shutil.copytree(
                installed_or_skipped().folder / "dist", project / "bots/dist", dirs_exist_ok=True
            )
            continue
        command = _with_real_partitions(line, project)
        if command in _STAYS:
            continue
        words = shlex.split(command)
        if words[:2] == ["migration", "new"]:
            assert (project / "source.yaml").exists()  # it is how the project came to be
        elif words[0] == "migration":
            _verb(words[1:])
        else:
            ran = subprocess.run(
                [BIN / words[0], *words[1:]],
                cwd=project,
                env=environment(PYTHONDONTWRITEBYTECODE="1"),
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr


def _verb(words: list[str]) -> None:
    """Exit 1 says that something needs a person, and is no failure of the command."""
    ran = CliRunner().invoke(VERBS, words)
    if isinstance(ran.exception, MigrationError):
        raise ran.exception
    assert ran.exit_code in (0, 1), ran.output
    assert not ran.exception or isinstance(ran.exception, SystemExit), ran.exception


def _with_real_partitions(line: str, project: Path) -> str:
    """The project's own first and last partition for those that a page shows."""
    dates = re.findall(r"20\d\d-\d\d-01", line) if "--partition" in line else []
    if not dates:
        return line
    found = build_definitions(settings=read_settings(project / ".env"))
    partitions = found.resolve_assets_def(dg.AssetKey(["medplum", "Patient"])).partitions_def
    assert partitions is not None
    real = (partitions.get_first_partition_key(), partitions.get_last_partition_key())
    for shown, mine in zip(dates, real, strict=False):
        line = line.replace(shown, str(mine))
    return line


def _python(block: Block, project: Path) -> None:
    """A mapping file, kept where its first line says."""
    path = project / _first_comment(block)
    path.write_text(block.text, encoding="utf-8")
    found = discover(project / "mappings", built_in=False)
    assert path.stem in {each.lower() for each in found}
    tidy = subprocess.run(
        [BIN / "ruff", "check", "--isolated", path], capture_output=True, text=True, check=False
    )
    assert tidy.returncode == 0, tidy.stdout


def _yaml(block: Block, project: Path) -> None:
    """A description that loads, kept on the page that makes a project; or a run's config."""
    name = _first_comment(block)
    if name == "Launchpad":
        made = build_definitions(connections=Connections(read_settings()))
        job = made.resolve_implicit_global_asset_job_def()
        assert dg.validate_run_config(job, yaml.safe_load(block.text))
        return
    assert name == "source.yaml"
    assert load_description(block.text)
    if block.page == "first-type":
        (project / name).write_text(block.text, encoding="utf-8")


def _toml(block: Block, project: Path) -> None:
    assert read_adoption(block.text)
    (project / _first_comment(block)).write_text(block.text, encoding="utf-8")


def _typescript(block: Block, project: Path) -> None:
    """A part of a file of the Bots, as it stands there."""
    name, _, text = block.text.partition("\n")
    assert text in (project / name.removeprefix("// ")).read_text(encoding="utf-8")


def _text(block: Block, project: Path) -> None:
    """Settings: each is one that there is."""
    known = (ROOT / ".env.example").read_text(encoding="utf-8")
    for line in block.text.splitlines():
        assert f"\n{line.split('=')[0]}=" in known, line


def _first_comment(block: Block) -> str:
    found = re.match(r"# (\S+)", block.text)
    assert found, block
    return found[1]


_SHOWN = {
    "console": _console,
    "python": _python,
    "yaml": _yaml,
    "toml": _toml,
    "text": _text,
    "typescript": _typescript,
}
