"""``migration bots``: the Bots that we ship, and deploying Bots of any make."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

import migration_assets
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.mapping import Bot
from migration_assets.settings import read_settings

_SOURCES = Path(migration_assets.__file__).parent / "bots"

BOTS = typer.Typer(name="bots", help="Bots for Medplum: copy the sources, deploy what was built.")


@BOTS.command("copy")
def copy(
    folder: Annotated[Path, typer.Argument(help="A new folder for the TypeScript project.")],
) -> None:
    """Copy the Bots that we ship, with their tests: to change, build with npm, and deploy."""
    if folder.exists():
        raise Permanent(f"Copying the Bots: {folder} is there already. Name a new folder.")
    shutil.copytree(_SOURCES, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    console().print(f"Copied to {folder}: npm ci, npm test, npm run build there.", markup=False)


@BOTS.command("deploy")
def deploy(
    files: Annotated[list[Path], typer.Argument(help="Built Bots: CommonJS, one file each.")],
    system: Annotated[
        str, typer.Option(help="System of their identifiers; the value is the file's name.")
    ],
    runtime: Annotated[
        Literal["awslambda", "vmcontext"], typer.Option(help="Where a new one runs.")
    ] = "awslambda",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Create each Bot by its identifier, or find it, and give it its code if it has another.

    A deployment is a new version of a mapping that the Bot transforms for: `migration remap`.
    """
    codes = {each: _code(each) for each in files}
    connections = Connections(read_settings(), before_use=before_use)
    told = []
    with connections.manifest() as manifest:
        client = connections.medplum(manifest)
        if client is None:
            raise Permanent(
                "Deploying Bots: set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET."
            )
        try:
            for path, code in codes.items():
                bot = Bot(identifier=f"{system}|{path.stem}")
                done = client.deploy_bot(bot, path.stem, code, runtime)
                told.append({"identifier": bot.identifier, **vars(done)})
        finally:
            client.close()
    if as_json:
        print_json({"bots": told})
        return
    for each in told:
        line = (
            f"{each['identifier']}: {each['event']}, Bot/{each['id']} version {each['version_id']}"
        )
        console().print(line, markup=False)


def _code(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Permanent(
            f"Deploying Bots: {path} cannot be read ({error.strerror}). Build them first: npm run "
            "build."
        ) from None
