"""What a run has to pull for a type, and pulling one window of it.

Belongs here: from the partitions and the config of a run to windows; which of them the runs it
belongs to have finished; taking turns with other runs. Does not belong here: what is reported
(``metadata``), or how rows travel (``pipeline``, ``sweeping``, ``clinical_ranges``).
"""

import time
from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.launch import Launch, refuse_for
from migration_assets.defs.partitions import windows
from migration_assets.defs.resuming import kin
from migration_assets.errors import Busy
from migration_assets.legacy import Source, Stream
from migration_assets.legacy.asking_otherwise import with_page_size, with_record_range
from migration_assets.manifest import Landed
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets.steps.clinical_ranges import choose_range
from migration_assets.steps.transforming import version_now
from migration_assets.sweeping import sweep

_TURN_SECONDS = 2.0
_BRIEF = 60.0
"""Patience of a run that the sensor would start again anyway, in seconds."""

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Pulled:
    """What a window brought: rows, counts by name, and what to deliver if not all that is pending.

    ``nothing`` is to be delivered where a range holds no row; an empty subset would mean all.
    """

    landed: Landed
    found: MappingOf[str, int] = field(default_factory=dict)
    subset: Subset | None = None
    nothing: bool = False


@dataclass(frozen=True)
class Pulling:
    """One type's pull in one run: what was asked for, of whom, and what is done already."""

    mapping: Mapping[Any]
    asked: Launch
    described: Stream
    kin: frozenset[str]
    patience: float
    log: Callable[..., None]
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def windows(
        self,
        run: Run,
        partitions: dg.TimeWindowPartitionsDefinition,
        keys: Sequence[str],
        connections: Connections,
    ) -> list[Window]:
        """What has to be pulled; nothing where the phase says that Medplum owns the type."""
        config, stream = self.asked.config, self.mapping.stream
        if not run.adoption.standing(self.mapping.resource_type).may_pull:
            return []
        otherwise_chosen = {
            Way.REMAP: config.remap,
            Way.RECORDS: self.asked.clinical is not None,
            Way.SWEEP: config.sweep,
        }
        if any(otherwise_chosen.values()):
            return [Window(None, None, way=way) for way, given in otherwise_chosen.items() if given]
        if self.described.queue is not None:
            # A queue shows what changed since it was last read, whatever the window asked for.
            mark = run.manifest.high_water_mark(stream)
            partition = None if config.incremental else keys[-1]
            return [Window(mark, None, partition=partition, way=Way.INCREMENTAL)]
        cursor = self.described.cursor
        if cursor is None:
            self.log("%s cannot filter by time: it is read whole, whatever the window.", stream)
            return [Window(None, None, partition=keys[-1], way=Way.SWEEP)]
        mark = run.manifest.high_water_mark(stream) if config.incremental else None
        lookback = timedelta(seconds=cursor.lookback_seconds)
        return windows(partitions, keys, now=connections.clock(), mark=mark, lookback=lookback)

    def finished(self, run: Run, due: Sequence[Window]) -> set[str]:
        """The partitions among ``due`` that this run's kin pulled to their end."""
        if not any(each.way is Way.BACKFILL for each in due):
            return set()
        return set(run.manifest.finished.windows(self.mapping.stream, self.kin))

    def land(self, run: Run, window: Window) -> Pulled:
        """Pull the window, or choose of what landed."""
        mapping = self.mapping
        match window.way:
            case Way.REMAP:
                version = version_now(mapping, run.manifest, run.fhir)
                reopened = run.manifest.remapping.reopen_outdated(mapping.stream, version)
                return Pulled(Landed(), {"reopened": reopened})
            case Way.RECORDS:
                return self._land_range(run)
            case Way.SWEEP:
                return self.in_turn(lambda: self._swept(run, window))
            case _:
                return Pulled(land(run, mapping, window))

    def deliver(self, run: Run, subset: Subset) -> Worked:
        """Deliver what is pending; while another run writes this type, wait for it."""
        return self.in_turn(lambda: migrate(run, self.mapping, subset))

    def in_turn(self, work: Callable[[], _Made]) -> _Made:
        """Do it once nobody else is at it.

        Raises:
            Busy: the others are not done after all our patience.
        """
        until = self.monotonic() + self.patience
        said = False
        while True:
            try:
                return work()
            except Busy as busy:
                if self.monotonic() >= until:
                    raise
                if not said:
                    self.log("%s", busy)
                said = True
                self.sleep(_TURN_SECONDS)

    def _land_range(self, run: Run) -> Pulled:
        wanted, subset = self.asked.clinical, self.asked.subset
        if wanted is None:  # windows() makes no such window then
            raise ValueError("no range was asked for")
        found = choose_range(run, self.mapping, self.described, wanted)
        keys = found.keys
        if subset.keys:
            keys = tuple(sorted(set(keys) & set(subset.keys)))
        counts = {"in_range": len(found.keys), "reopened": found.reopened, "undated": found.undated}
        return Pulled(found.landed, counts, replace(subset, keys=keys), nothing=not keys)

    def _swept(self, run: Run, window: Window) -> Pulled:
        """Sweep, unless a run of the same backfill did: a chunk of it needs no reading of all."""
        before = run.manifest.finished.sweep(self.mapping.stream, self.kin)
        if before is not None:
            self.log(
                "%s was read whole by a run of the same backfill at %s UTC: not again.",
                self.mapping.stream,
                f"{before:%Y-%m-%d %H:%M}",
            )
            return Pulled(Landed(), {"swept_before": 1})
        found = sweep(
            run,
            self.mapping,
            allow_missing=self.asked.config.allow_missing,
            partition=window.partition,
        )
        counts = {
            "absent": found.absent,
            "gone": found.gone,
            "awaiting_another_sweep": found.waiting,
            "hidden": found.hidden,
        }
        return Pulled(found.landed, counts)


def pulling(
    context: dg.AssetExecutionContext,
    mapping: Mapping[Any],
    asked: Launch,
    connections: Connections,
) -> Pulling:
    """The pull of a type that a run asks for.

    Raises:
        Permanent: what is asked makes no sense for this type, its stream or its phase.
    """
    described = connections.source().stream(mapping.stream)
    standing = connections.adoption().standing(mapping.resource_type)
    refuse_for(asked, mapping.resource_type, described, standing)
    otherwise(mapping.stream, asked, described)(connections.source())
    by_sensor = "dagster/sensor_name" in context.run.tags
    return Pulling(
        mapping,
        asked,
        described,
        kin(context.instance, context.run),
        _BRIEF if by_sensor else float(connections.settings.deadline_seconds),
        context.log.warning,
    )


def otherwise(stream: str, asked: Launch, described: Stream) -> Callable[[Source], Source]:
    """How the source is asked otherwise in this run: smaller pages, a range."""
    size, clinical, dated = asked.config.page_size, asked.clinical, described.record_date

    def changed(source: Source) -> Source:
        if size is not None:
            source = with_page_size(source, stream, size)
        if clinical is not None and dated is not None and dated.param is not None:
            source = with_record_range(source, stream, clinical.since, clinical.until)
        return source

    return changed
