"""A manifest and the real pipeline over a legacy server, cut off wherever a test says.

Belongs here: runs as Dagster makes them: windows of partitions, pulls since the mark, sweeps.
Does not belong here: what must hold (the tests say it).
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import dagster as dg
import sqlalchemy as sa

from migration_assets.adoption import read_adoption
from migration_assets.defs.partitions import windows
from migration_assets.legacy.description import Source
from migration_assets.legacy.pull import Puller
from migration_assets.manifest import Manifest
from migration_assets.manifest.collisions import DUPLICATE_KEY
from migration_assets.manifest.payload import unpack
from migration_assets.manifest.schema import units
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.pipeline import land
from migration_assets.run import Run
from migration_assets.sweeping import Sweep, sweep
from migration_assets_tests.replica.clinic import Clinic
from migration_assets_tests.replica.server import Cut, LegacyServer, Moment
from migration_assets_tests.replica.shapes import STREAM, Shape

_DAY = dt.timedelta(days=1)


class AnyRow(Row):
    """Never built: nothing is delivered here."""

    id: str


def _nothing(_row: AnyRow) -> Resource:
    return {"resourceType": "Organization"}


MAPPING: Mapping[Any] = Mapping(
    stream=STREAM,
    row=AnyRow,
    resource_type="Organization",
    build=_nothing,
    version="1",
    step=Step.ORGANIZATIONS,
)


@dataclass
class Doom:
    """Cuts a run off at the nth landing, before or after it was committed; 0 is never."""

    at: int = 0
    after: bool = False
    landings: int = 0


class Mortal:
    """Stands before the manifest, and may not return from a landing."""

    def __init__(self, behind: Manifest, doom: Doom) -> None:
        self._behind, self._doom = behind, doom

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._behind, name)
        if not name.startswith(("land", "end_sweep")):
            return found

        @wraps(found)
        def call(*arguments: Any, **named: Any) -> Any:
            self._doom.landings += 1
            due = self._doom.landings == self._doom.at
            if due and not self._doom.after:
                raise Cut
            made = found(*arguments, **named)
            if due:
                raise Cut
            return made

        return call


@dataclass(frozen=True)
class Held:
    """What the account holds of one key: contents on account, and whether it is deleted.

    ``disputed``: two contents of one change time came in one run, and a person is asked.
    """

    contents: frozenset[int]
    deleted: bool
    disputed: bool


@dataclass
class Account:
    """The replica of one clinic."""

    clinic: Clinic
    shape: Shape
    source: Source
    manifest: Manifest = field(init=False)
    partitions: dg.TimeWindowPartitionsDefinition = field(init=False)

    def __post_init__(self) -> None:
        self.manifest = Manifest("sqlite://", clock=self.our_time)
        start = self.our_time().replace(hour=0, minute=0, second=0, microsecond=0) - 2 * _DAY
        self.partitions = dg.DailyPartitionsDefinition(start_date=start, end_offset=1)

    def our_time(self) -> dt.datetime:
        """Our clock, which is not the source's."""
        return self.clinic.now - dt.timedelta(seconds=self.shape.skew_seconds)

    @property
    def keys(self) -> list[str]:
        """The partitions there are now."""
        return list(self.partitions.get_partition_keys(current_time=self.our_time()))

    @property
    def missing(self) -> list[str]:
        """Partitions never pulled to their end."""
        pulled = self.manifest.pulled_windows(STREAM)
        return [key for key in self.keys if key not in pulled]

    def backfill(
        self, keys: Sequence[str], moments: Iterable[Moment] = (), doom: Doom | None = None
    ) -> None:
        """Pull whole windows, as a backfill does."""
        with self._run(moments, doom) as run:
            for window in windows(self.partitions, keys, now=self.our_time()):
                land(run, MAPPING, window)

    def follow(self, moments: Iterable[Moment] = (), doom: Doom | None = None) -> None:
        """Pull what changed since the mark, as the sensor asks for."""
        mark = self.manifest.high_water_mark(STREAM)
        assert mark is not None
        since = str(mark.date() - _DAY)
        keys = [key for key in self.keys if key >= since]
        lookback = dt.timedelta(seconds=self.shape.lookback_seconds)
        now = self.our_time()
        with self._run(moments, doom) as run:
            for window in windows(self.partitions, keys, now=now, mark=mark, lookback=lookback):
                land(run, MAPPING, window)

    def sweep(self, moments: Iterable[Moment] = (), doom: Doom | None = None) -> Sweep:
        """Read everything, to find what no change time tells."""
        with self._run(moments, doom) as run:
            return sweep(run, MAPPING)

    def held(self) -> dict[int, Held]:
        """What is on account, by key; both rows of a collision under the key they share."""
        contents: dict[int, set[int]] = {}
        deleted: set[int] = set()
        disputed: set[int] = set()
        query = sa.select(units.c.key, units.c.payload, units.c.deleted, units.c.reason)
        with self.manifest._read.begin() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            plain, _, second = row.key.partition("~")
            key = int(plain)
            contents.setdefault(key, set()).add(unpack(row.payload)["content"])
            if not second:
                deleted |= {key} if row.deleted else set()
                disputed |= {key} if row.reason == DUPLICATE_KEY else set()
        return {
            key: Held(frozenset(found), key in deleted, key in disputed)
            for key, found in contents.items()
        }

    @contextmanager
    def _run(self, moments: Iterable[Moment], doom: Doom | None) -> Iterator[Run]:
        manifest: Any = Mortal(self.manifest, doom or Doom())
        puller: Any = self._puller(moments)
        yield Run(
            id=self.manifest.start_run("test", pipeline_version="0"),
            label="test",
            manifest=manifest,
            puller=puller,
            adoption=read_adoption(""),
            fhir=None,
            deadline_seconds=30,
        )

    def _puller(self, moments: Iterable[Moment]) -> Puller:
        sleep: Callable[[float], None] = lambda _seconds: None  # noqa: E731  nothing waits here
        puller = Puller(
            self.source, environ={}, clock=lambda: self.our_time().timestamp(), sleep=sleep
        )
        puller._transport = LegacyServer(self.clinic, self.shape, iter(moments))
        return puller
