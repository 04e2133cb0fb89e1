"""``migration inbox``: take the events that services send, until Ctrl-C."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from migration_assets.cli.output import console
from migration_assets.connections import Connections
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.settings import read_settings

if TYPE_CHECKING:
    from migration_assets.inbox.serving import Listening


def inbox(
    host: Annotated[str, typer.Option(help="Where to listen: this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8400,
) -> None:
    """Take events of the services' dual writes: they are on account before the answer.

    Needs MIGRATION_INBOX_TOKENS. In front of other machines belongs a proxy with TLS.
    """
    try:
        from migration_assets.inbox.serving import serve  # noqa: PLC0415 - the inbox's extra only
    except ModuleNotFoundError:
        raise Permanent(
            "The inbox needs packages that are not installed: pip install "
            "'migration_assets[inbox]'."
        ) from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    settings = read_settings()
    serve(Connections(settings, before_use=before_use), host=host, port=port, listening=_say)


def _say(listening: "Listening") -> None:
    out = console()
    out.print(f"The inbox listens on {listening.url} for {', '.join(listening.streams)}.")
    out.print("Ctrl-C ends it; what is under way is finished first.")
    out.file.flush()
