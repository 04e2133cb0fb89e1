"""``migration new``: a working project, at first against the demo clinic."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from migration_assets.cli.output import console
from migration_assets.counting import several
from migration_assets.errors import Permanent
from migration_assets.starter import Starter, free_ports, write

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an empty one.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the project; that of the folder by default.")
    ] = None,
    patients: Annotated[int, typer.Option(min=10, help="Size of its demo clinic.")] = 50,
) -> None:
    """Write a project of your own: one source description, one type, its tests, a workspace.

    It works at once, against an invented clinic and a Medplum sandbox of its own.
    """
    chosen = name or re.sub(r"\W", "_", folder.resolve().name.lower())
    if not _NAME.fullmatch(chosen):
        raise Permanent(
            "Making a project: its name must be a Python name in lower case, such as my_clinic. "
            "Say another with --name."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Permanent(f"Making a project: {folder} is there already and not empty.")
    folder.mkdir(parents=True, exist_ok=True)
    out = console()
    written = write(Starter(chosen, _demo(folder, patients)), folder)
    out.print(f"{chosen}: {several(len(written), 'file')} in {folder}", markup=False)
    for each in written:
        out.print(f"  {each}", markup=False, highlight=False)
    out.print(f"Next: cd {folder}; migration check; pytest; dagster dev", markup=False)


def _demo(folder: Path, patients: int) -> dict[str, str]:
    """Found the project's demo clinic; returns the settings that point at it."""
    try:
        from migration_assets.demo.home import Home  # noqa: PLC0415 - the demo's extra only
        from migration_assets.demo.migration import found_clinic  # noqa: PLC0415
    except ModuleNotFoundError:
        raise Permanent(
            "The demo clinic of a new project needs packages that are not installed: "
            "pip install 'migration_assets[demo]'."
        ) from None
    home = Home((folder / ".demo").resolve())
    found_clinic(home, patients=patients, seed=1, now=datetime.now(UTC))
    clinic, sandbox = free_ports(2)
    home.keep_ports(clinic, sandbox)
    return home.environment(f"http://127.0.0.1:{clinic}/", f"http://127.0.0.1:{sandbox}/") | {
        "MIGRATION_SOURCE": "source.yaml",
        "MIGRATION_MANIFEST_URL": "sqlite:///manifest.db",
        "MIGRATION_ADOPTION": "adoption.toml",
        "MIGRATION_MAPPINGS": "mappings",
        "MIGRATION_BUILT_IN_MAPPINGS": "false",
    }
