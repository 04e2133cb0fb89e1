"""Kills a process at any transaction of the account, before or after it is committed.

Belongs here: the end of a process. Does not belong here: what follows. Once dead it does nothing
more, not even what its ``finally`` clauses ask for: leases stay held until somebody frees them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.outages import Database


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Mortality:
    """Dies at the nth transaction; 0: never."""

    nth: int = 0
    after: bool = False
    seen: int = 0
    dead: bool = False

    def strikes(self) -> bool:
        """Whether this transaction is the one."""
        if self.dead:
            raise Killed
        self.seen += 1
        return self.seen == self.nth

    def die(self) -> None:
        """End the process."""
        self.dead = True
        raise Killed


@contextmanager
def mortal(monkeypatch: Any, mortality: Mortality) -> Iterator[Mortality]:
    """Within this block each transaction may be the last."""
    begin, once = Database.begin, Database.at_most_once

    @contextmanager
    def begun(self: Database) -> Iterator[sa.Connection]:
        due = mortality.strikes()
        if due and not mortality.after:
            mortality.die()
        with begin(self) as connection:
            yield connection
        if due:
            mortality.die()

    def made(self: Database, work: Callable[..., Any]) -> Any:
        due = mortality.strikes()
        if due and not mortality.after:
            mortality.die()
        found = once(self, work)
        if due:
            mortality.die()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Database, "begin", begun)
        patched.setattr(Database, "at_most_once", made)
        yield mortality
