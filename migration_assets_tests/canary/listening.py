"""Hearing and searching what the product says: logs, streams, files."""

import contextlib
import io
import logging
import os
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from migration_assets_tests.canary.people import CANARIES

_BEFORE, _AFTER = 300, 60


def leaks_of(where: str, content: bytes) -> list[str]:
    """What is around the first canary of a content; nothing where there is none."""
    low = content.lower()
    found = [low.find(each.lower().encode()) for each in CANARIES]
    if not any(at >= 0 for at in found):
        return []
    at = min(at for at in found if at >= 0)
    around = content[max(0, at - _BEFORE) : at + _AFTER].decode(errors="replace")
    return [f"{where}: …{' '.join(around.split())}…"]


def leaks_in_files(folder: Path, pattern: str = "*") -> list[str]:
    """Leaks of the raw bytes of files, and of what SQLite files hold: a value may lie on two pages.

    What is compressed is read as well: a row on account is, sealed or not.
    """
    leaks = []
    for path in sorted(each for each in folder.rglob(pattern) if each.is_file()):
        content = path.read_bytes()
        leaks += leaks_of(str(path.relative_to(folder)), content)
        if content.startswith(b"SQLite format 3"):
            leaks += _leaks_of_values(path)
    return leaks


def _leaks_of_values(path: Path) -> list[str]:
    leaks = []
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            for values in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - its own names
                for value in values:
                    leaks += leaks_of(f"{path.name} {table}", _as_bytes(value))
    return leaks


def _as_bytes(value: object) -> bytes:
    content = value if isinstance(value, bytes) else str(value).encode(errors="replace")
    with contextlib.suppress(zlib.error):
        return zlib.decompress(content.lstrip(b"\x00"))  # b"\0" marks what is not sealed
    return content


@dataclass
class Heard:
    """What loggers and the standard streams said."""

    log: io.StringIO = field(default_factory=io.StringIO)
    streams: bytes = b""
    loggers: set[str] = field(default_factory=set)

    def hear(self, record: logging.LogRecord) -> None:
        """A record as text, and all it carries: JSON handlers print that too."""
        self.loggers.add(record.name)
        text = logging.Formatter("%(name)s %(message)s").format(record)
        self.log.write(f"{text} {vars(record)}\n")


@contextlib.contextmanager
def listening(heard: Heard, file: Path) -> Iterator[None]:
    """Hear every logger at DEBUG, whatever its level and handlers, and both standard streams.

    But SQLAlchemy's: Dagster's own storage says so much there that it takes minutes; it is heard
    while a verb runs (``sql_logged``).
    """
    passed_on = logging.Logger.callHandlers

    def hear(logger: logging.Logger, record: logging.LogRecord) -> None:
        heard.hear(record)
        passed_on(logger, record)

    with contextlib.ExitStack() as stack:
        names = [each for each in logging.root.manager.loggerDict if "sqlalchemy" not in each]
        for name in ("", *names, "urllib3.connectionpool", "urllib3.connection"):
            stack.enter_context(_at(logging.getLogger(name), logging.DEBUG))
        logging.Logger.callHandlers = hear  # type: ignore[assignment,method-assign]
        stack.callback(setattr, logging.Logger, "callHandlers", passed_on)
        stack.enter_context(_redirected(file))
        yield
    heard.streams += file.read_bytes()


@contextlib.contextmanager
def sql_logged() -> Iterator[None]:
    """Have SQLAlchemy log statements, parameters and rows."""
    with _at(logging.getLogger("sqlalchemy.engine.Engine"), logging.DEBUG):
        yield


@contextlib.contextmanager
def _at(logger: logging.Logger, level: int) -> Iterator[None]:
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _redirected(file: Path) -> Iterator[None]:
    """Both streams into a file: of Python, and of whatever writes to the descriptors."""
    with file.open("w", encoding="utf-8") as out:
        before = os.dup(1), os.dup(2)
        sys.stdout.flush()
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                yield
        finally:
            out.flush()
            for number, kept in enumerate(before, start=1):
                os.dup2(kept, number)
                os.close(kept)
