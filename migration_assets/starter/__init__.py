"""``migration new``: a working project to change into one's own.

Belongs here: the files of such a project (``files/``, rendered with Jinja2) and writing them. Does
not belong here: the demo clinic it first runs against (``demo``), or the verb (``cli``).
"""

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FILES = Path(__file__).parent / "files"
_SUFFIX = ".j2"


@dataclass(frozen=True)
class Starter:
    """What a new project is made of: its name, and the settings that make it run at once."""

    name: str
    environment: dict[str, str]


def write(starter: Starter, folder: Path) -> list[Path]:
    """Write the project's files into ``folder``; returns them, relative to it."""
    templates = Environment(
        loader=FileSystemLoader(_FILES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Python, YAML and Markdown, with nobody's input but a name
    )
    written: list[Path] = []
    for source in sorted(_FILES.rglob(f"*{_SUFFIX}")):
        path = source.relative_to(_FILES)
        target = path.with_name(path.name.removesuffix(_SUFFIX).replace("dot-", "."))
        text = templates.get_template(path.as_posix()).render(
            name=starter.name, environment=starter.environment
        )
        _write(folder / target, text, secret=target.name == ".env")
        written.append(target)
    return written


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody uses at the moment, none of them twice."""
    with ExitStack() as held:
        listening = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [int(each.getsockname()[1]) for each in listening]


def _write(path: Path, text: str, *, secret: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o600 if secret else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
