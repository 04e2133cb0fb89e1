"""The ``migration`` command: thin verbs over the rooms, one file each.

Belongs here: arguments, what is printed, exit codes. Does not belong here: what a verb does.
Exit codes: 0 all is well; 1 something needs a person (an exception in the account, a failed
check); 2 the command could not be carried out (a setting, the source or Medplum).
"""

import sys

import typer

from migration_assets.cli import check, demo, preview, status
from migration_assets.errors import MigrationError

_app = typer.Typer(
    name="migration",
    help="Move a legacy health system into Medplum without losing a record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with locals would print rows
)
_app.command("demo")(demo.demo)
_app.command("check")(check.check)
_app.command("preview")(preview.preview)
_app.command("status")(status.status)


def app() -> None:
    """Entry of the command; an expected error is a sentence, not a traceback."""
    try:
        _app()
    except MigrationError as error:
        print(f"migration: {error}", file=sys.stderr)  # noqa: T201 - this is the command line
        sys.exit(2)
    except KeyboardInterrupt:
        print("migration: stopped; nothing is lost, run it again", file=sys.stderr)  # noqa: T201
        sys.exit(130)
