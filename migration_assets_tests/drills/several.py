"""An installation on PostgreSQL with Celery: its database and its queue are its own, and removed.

Belongs here: what several machines share. Does not belong here: their processes
(``installation``).
"""

import importlib
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migration_assets_tests.drills.installation import SEVERAL, Installation, installation

POSTGRES = os.environ.get("MIGRATION_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
REDIS = os.environ.get("MIGRATION_TEST_REDIS", "redis://127.0.0.1:6379/7")
RABBITMQ = os.environ.get("MIGRATION_TEST_RABBITMQ", "pyamqp://guest:guest@127.0.0.1:5672//")
_kombu: Any = importlib.import_module("kombu")  # typed in part only
_PRIORITIES = 10  # dagster-celery's own; RabbitMQ knows a queue only with its arguments
_REQUIRED = bool(os.environ.get("MIGRATION_TEST_REQUIRE_SERVICES"))


def needs(name: str, url: str) -> None:
    """Skip loudly where a service does not listen; fail where it is required."""
    host, _, port = url.partition("://")[2].rpartition("@")[2].partition("/")[0].partition(":")
    with socket.socket() as probe:
        probe.settimeout(5)
        if probe.connect_ex((host, int(port))) == 0:
            return
    if _REQUIRED:
        pytest.fail(f"NO {name} at {host}:{port}, and MIGRATION_TEST_REQUIRE_SERVICES is set")
    pytest.skip(f"NO {name} at {host}:{port}: set MIGRATION_TEST_{name}")


@contextmanager
def several_machines(folder: Path, *, patients: int, months: int) -> Iterator[Installation]:
    """Celery workers on Redis; Dagster and the account in one database, a schema each."""
    needs("POSTGRES", POSTGRES)
    needs("REDIS", REDIS)
    database = f"migration_drill_{uuid.uuid4().hex[:12]}"
    at = f"{POSTGRES.partition('://')[2]}/{database}"
    variables = {
        "DAGSTER_PG_URL": f"postgresql+psycopg2://{at}",
        "CELERY_BROKER_URL": REDIS,
        "CELERY_RESULT_BACKEND": f"db+postgresql+psycopg2://{at}",
        "MIGRATION_POLL_SECONDS": "2",  # as migration.env.example has it
        "MIGRATION_MANIFEST_URL": f"postgresql://{at}?options=-csearch_path%3Dmigration",
    }
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as admin:
        try:
            admin.execute(f"CREATE DATABASE {database}")
            with installation(folder, SEVERAL, variables, patients=patients, months=months) as made:
                try:
                    yield made
                finally:
                    made.end()  # first: a worker would make its queue again
                    forget_queue(REDIS, made.name)
        finally:
            admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


@contextmanager
def on_rabbitmq(made: Installation) -> Iterator[None]:
    """The same installation on the other broker; its daemon and workers are started anew."""
    needs("RABBITMQ", RABBITMQ)
    for each in made.running:
        if each.name != "code":
            each.kill_all()
    made.variables["CELERY_BROKER_URL"] = RABBITMQ
    try:
        yield
    finally:
        made.end()
        made.variables["CELERY_BROKER_URL"] = REDIS
        forget_queue(RABBITMQ, made.name)


def forget_queue(broker: str, name: str) -> None:
    """Remove a queue and its exchange from a broker, with what waits in it."""
    with _kombu.Connection(broker) as connection, connection.channel() as channel:
        exchange = _kombu.Exchange(name, type="direct")
        queue = _kombu.Queue(
            name, exchange, routing_key=name, max_priority=_PRIORITIES, channel=channel
        )
        queue.declare()  # Redis forgets a queue only with its binding, which this names
        queue.delete()
        exchange(channel).delete()
