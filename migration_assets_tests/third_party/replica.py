"""The replica: what the product makes of a source, by its own way from Puller to account.

Belongs here: a backfill by partitions, incremental pulls from the mark, sweeps, what is then on
account.
Does not belong here: anything done better than the product does it.
"""

from collections.abc import Mapping as Variables
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from migration_assets.adoption import read_adoption
from migration_assets.defs.partitions import change_time_partitions, windows
from migration_assets.errors import Transient
from migration_assets.legacy import Puller, load_description
from migration_assets.manifest import Manifest, State
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.pipeline import land
from migration_assets.run import Run
from migration_assets.settings import Settings
from migration_assets.sweeping import sweep
from migration_assets_tests.third_party.people import utc_now

ALL_UNITS = 1_000_000


class AnyRow(Row):
    """Nothing is mapped here: what lands is what counts."""


def _nothing(_row: AnyRow) -> Resource:
    return {}


@dataclass
class Replica:
    """An account that follows one source. A context manager: leaving it closes both."""

    description: Path
    environ: Variables[str, str]
    folder: Path
    begins: datetime
    pulls: int = 0
    sweeps: int = 0
    given_up: int = 0
    _backfilled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._source = load_description(self.description)
        self.puller = Puller(self._source, environ=self.environ)
        self._manifest = Manifest(f"sqlite:///{self.folder / 'manifest.db'}", clock=utc_now)
        settings = Settings.model_validate({"MIGRATION_START": self.begins.date()})
        self._partitions = change_time_partitions(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.puller.close()
        self._manifest.close()

    def follow(self) -> None:
        """Every stream once: backfilled if it is not yet, then pulled from its mark.

        A source whose rows move too fast to be read gives the turn back, as a run of Dagster's
        would; the next one tries again.
        """
        for stream in self._streams:
            try:
                if stream not in self._backfilled:
                    self._pull(stream, None)
                    self._backfilled.add(stream)
                mark = self._manifest.high_water_mark(stream)
                assert mark is not None, "the backfill set it"
                self._pull(stream, mark)
            except Transient:
                self.given_up += 1

    def sweep(self) -> int:
        """A whole reading of every stream; how many of them found rows that need another one."""
        unsure = 0
        for stream in self._streams:
            run = self._run()
            self.sweeps += 1
            try:
                unsure += sweep(run, _mapping(stream)).waiting > 0
            except Transient:
                self.given_up += 1
                unsure += 1
            self._manifest.finish_run(run.id)
        return unsure

    def live(self, stream: str) -> dict[str, Any]:
        """The rows on account that are not deleted, by key."""
        units = self._manifest.landed_units(stream, limit=ALL_UNITS)
        return {each.key: each.row for each in units if not each.deleted}

    def quarantined(self, stream: str) -> int:
        """Units that a person would have to look at: nothing here deserves it."""
        held = self._manifest.balances().get(stream)
        return held.by_state[State.QUARANTINED] if held else 0

    @property
    def _streams(self) -> tuple[str, ...]:
        return tuple(each.name for each in self._source.streams)

    def _pull(self, stream: str, mark: datetime | None) -> None:
        self.pulls += 1
        cursor = self._source.stream(stream).cursor
        assert cursor is not None
        due = windows(
            self._partitions,
            self._partitions.get_partition_keys(),
            now=utc_now(),
            mark=mark,
            lookback=timedelta(seconds=cursor.lookback_seconds),
        )
        run = self._run()
        for window in due:
            land(run, _mapping(stream), window)
        self._manifest.finish_run(run.id)

    def _run(self) -> Run:
        return Run(
            id=self._manifest.start_run("drift", pipeline_version="drift"),
            label="drift",
            manifest=self._manifest,
            puller=self.puller,
            adoption=read_adoption(""),
            fhir=None,
            deadline_seconds=60,
        )


def _mapping(stream: str) -> Mapping[AnyRow]:
    return Mapping(
        stream=stream,
        row=AnyRow,
        resource_type="Basic",
        build=_nothing,
        version="1.0.0",
        step=Step.PATIENTS,
    )
