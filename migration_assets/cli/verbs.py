"""The verbs of the ``migration`` command, put together.

Belongs here: which verbs there are. Does not belong here: what one does (a file each).
"""

import typer

from migration_assets.cli import check, demo, preview, status

VERBS = typer.Typer(
    name="migration",
    help="Move a legacy health system into Medplum without losing a record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with locals would print rows
)
VERBS.command("demo")(demo.demo)
VERBS.command("check")(check.check)
VERBS.command("preview")(preview.preview)
VERBS.command("status")(status.status)
