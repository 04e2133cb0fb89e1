"""One transaction on the demo clinic's database.

Belongs here: all or nothing. Does not belong here: what is written in it (``clinic_store``,
``clinic_writes``).
"""

import sqlite3


class Transaction:
    """All or nothing, and writers one after the other."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._connection.execute("ROLLBACK" if kind else "COMMIT")
