"""A service that writes to its own database and tells the inbox of it, whatever crashes in between.

    export INBOX_URL=http://127.0.0.1:8400 INBOX_TOKEN=…
    python outbox_service.py service.db register P1 Roe
    python outbox_service.py service.db forward

``register`` writes the row and the event in one transaction. ``forward`` sends what waits, oldest
first; a real service does that in a thread (``Outbox.forward_for_ever``). With PostgreSQL it is
``Outbox(..., mark="%s")`` and a psycopg connection; nothing else differs.
"""

import os
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime

from migration_assets.inbox import Outbox


def register(connection: sqlite3.Connection, outbox: Outbox, key: str, family: str) -> None:
    """Write a patient, and in the same transaction that it was written."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with connection:
        connection.execute("INSERT INTO patients VALUES (?, ?, ?)", (key, family, now))
        # The row as the legacy API shows it: all of it, with its key and its change time.
        row = {"patient_id": key, "last_name": family, "updated_at": now}
        outbox.put(connection, "patients", row)


def main(path: str, verb: str, *words: str) -> None:
    """Do what is asked."""
    outbox = Outbox(os.environ.get("INBOX_URL", ""), os.environ.get("INBOX_TOKEN", ""))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS patients (id TEXT PRIMARY KEY, family TEXT, changed TEXT)"
        )
        outbox.create(connection)
        if verb == "register":
            key, family = words
            register(connection, outbox, key, family)
        else:
            sys.stdout.write(f"{outbox.forward(connection)} taken\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
