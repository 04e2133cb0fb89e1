"""The demo's migration: every asset materialized by Dagster, on the demo's state.

Belongs here: what `migration demo` does between starting the servers and printing the balance.
It goes in by the front door: the same definitions, assets and run storage that `dagster dev`
shows afterwards.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from migration_assets.adoption import read_adoption
from migration_assets.connections import Connections
from migration_assets.demo.clinic_changes import Changed, change
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.home import Home
from migration_assets.demo.population import generate
from migration_assets.errors import Transient
from migration_assets.mappings import discover
from migration_assets.reconciliation.balance import (
    TypeBalance,
    exceptions_by_type,
    type_balances,
)
from migration_assets.reconciliation.presence import Presence, presence
from migration_assets.run import Progress
from migration_assets.settings import Settings

HISTORY = timedelta(days=730)
"""How far back the clinic's rows were last changed."""


@dataclass(frozen=True)
class Shown:
    """What a demo run has to tell."""

    balances: list[TypeBalance]
    exceptions: list[tuple[str, Any]]
    presences: list[Presence]
    written: int
    unchanged: int


def found_clinic(home: Home, *, patients: int, seed: int, now: datetime) -> None:
    """Make the clinic's population, once; the same state folder keeps the same clinic."""
    home.create()
    if home.clinic.exists():
        return
    unfinished = home.clinic.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    extra = [(each.stream, each.examples) for each in discover().values()]
    with ClinicStore(unfinished) as store:
        store.load(generate(patients=patients, seed=seed, now=now))
        store.load_examples(extra, now=now)
    keep_adoption(home)
    start = (now - HISTORY).astimezone(UTC).date().replace(day=1)
    (home.folder / "start").write_text(start.isoformat(), encoding="utf-8")
    unfinished.rename(home.clinic)  # whole or not at all


def change_clinic(home: Home, rows: int, *, now: datetime) -> Changed:
    """Have the clinic's staff work: about ``rows`` rows updated, inserted, deleted, erased, now.

    Works on the clinic's database, whether or not its API is being served.
    """
    inserts, erasures = rows // 4, rows // 8
    deletes = rows // 4 - erasures
    with ClinicStore(home.clinic) as store:
        return change(
            store,
            seed=int(now.timestamp()),
            updates=rows - inserts - deletes - erasures,
            inserts=inserts,
            deletes=deletes,
            erasures=erasures,
            now=now,
        )


def keep_adoption(home: Home) -> None:
    """The demo's adoption.toml: the shipped one, and every further type that a mapping makes.

    In the demo a mapping dropped in is delivered like the others; elsewhere it would rehearse.
    """
    shipped = (Path(__file__).parent / "adoption.toml").read_text(encoding="utf-8")
    types = (name for each in discover().values() for name in each.types)
    further = sorted(read_adoption(shipped).missing(types))
    lines = [shipped.rstrip(), *(f'{name} = "backfill"' for name in further), ""]
    home.adoption.write_text("\n".join(lines), encoding="utf-8")


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables in the environment, for Dagster's own settings, and the old ones after."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def demo_settings(variables: Mapping[str, str]) -> Settings:
    """The settings these variables make."""
    return Settings.model_validate(dict(variables))


def materialize_everything(variables: Mapping[str, str], progress: Progress) -> None:
    """Materialize every asset over every partition in one Dagster run, in dependency order.

    Raises:
        KeyboardInterrupt: Ctrl-C, which Dagster had taken for itself.
        Transient: the run failed; its error is in the message, and in the Dagster UI.
    """
    import dagster as dg  # noqa: PLC0415, TID251 - the demo is a user of Dagster, and slow to import

    from migration_assets.defs.build import build_definitions  # noqa: PLC0415
    from migration_assets.defs.partitions import change_time_partitions  # noqa: PLC0415

    settings = demo_settings(variables)
    connections = Connections(settings, environ=lambda: variables, progress=progress)
    definitions = build_definitions(connections=connections)
    partitions = change_time_partitions(settings)
    span = {
        "dagster/asset_partition_range_start": str(partitions.get_first_partition_key()),
        "dagster/asset_partition_range_end": str(partitions.get_last_partition_key()),
    }
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.get() as instance, _interrupts() as interrupted:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, tags=span, run_config=quiet, raise_on_error=False
        )
    if interrupted:
        raise KeyboardInterrupt
    if not result.success:
        failed = [event for event in result.all_events if event.is_step_failure]
        why = [_failure_text(event) for event in failed] or ["see the run in the Dagster UI"]
        raise Transient(f"The migration run failed: {'; '.join(why)}")


_LOGGERS_OF_INTERRUPTED_CODE = (
    "dagster.redacted_errors",
    "sqlalchemy.pool.impl.NullPool",
    "sqlalchemy.pool.impl.QueuePool",
)


@contextmanager
def _interrupts() -> Iterator[list[bool]]:
    """Collects whether Ctrl-C ended a step: Dagster takes the signal and fails the run with it.

    Its traceback would be logged as an error of the user's code, or of a connection that was just
    being closed, which it is not.
    """
    seen: list[bool] = []

    def tell(record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        by_signal = kind is not None and "Interrupt" in kind.__name__
        seen.extend([True] * by_signal)
        return not by_signal

    loggers = [logging.getLogger(name) for name in _LOGGERS_OF_INTERRUPTED_CODE]
    for logger in loggers:
        logger.addFilter(tell)
    try:
        yield seen
    finally:
        for logger in loggers:
            logger.removeFilter(tell)


def _failure_text(event: Any) -> str:
    data = event.step_failure_data
    said = data.user_failure_data.description if data.user_failure_data else None
    return f"{event.step_key}: {said or 'unexpected; see the run in the Dagster UI'}"


def account_of(variables: Mapping[str, str], stats: Mapping[str, Any]) -> Shown:
    """The balance, the exceptions and a search of Medplum for everything on account."""
    connections = Connections(demo_settings(variables), environ=lambda: variables)
    mappings = discover().values()
    with connections.manifest() as manifest:
        fhir = connections.medplum()
        types = [name for each in mappings for name in each.types]
        return Shown(
            balances=type_balances(manifest, mappings),
            exceptions=exceptions_by_type(manifest, mappings),
            presences=[presence(manifest, fhir, each) for each in types] if fhir else [],
            written=int(stats.get("versions", 0)),
            unchanged=int(stats.get("unchanged", 0)),
        )
