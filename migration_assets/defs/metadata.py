"""What a window and a run report to Dagster: events, and the numbers that are plotted over time.

Belongs here: metadata, counts only. Does not belong here: verdicts (``checks``), anything of a row.

Numbers of a way in carry its name (``window/pulled``, ``incremental/pulled``), so that a small pull
does not blot out what a backfill said of the same partition. Those without one are stock values, as
they stand when the run ends: ``rows_held``, ``balance/…``, ``mark_age_seconds``. Points are what
contract §8 prices for what this run sent; the quota's own header counts everybody's.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import dagster as dg

from migration_assets.claims.gates import refuse_to_go_on
from migration_assets.defs.checks import of_materialization
from migration_assets.defs.keys import asset_key
from migration_assets.manifest import Balance, Landed, State
from migration_assets.mapping import Mapping
from migration_assets.pipeline import Worked
from migration_assets.reconciliation.balance import TypeBalance
from migration_assets.run import Run, Way, Window

_NOT_SENT = frozenset({"unchanged", "failed"})


@dataclass(frozen=True)
class Spent:
    """What some work took."""

    seconds: float = 0.0
    points: int = 0
    legacy_requests: int = 0
    medplum_requests: int = 0

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(
            self.seconds - other.seconds,
            self.points - other.points,
            self.legacy_requests - other.legacy_requests,
            self.medplum_requests - other.medplum_requests,
        )

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.seconds + other.seconds,
            self.points + other.points,
            self.legacy_requests + other.legacy_requests,
            self.medplum_requests + other.medplum_requests,
        )


class Meter:
    """Says what a run spent since it was last asked."""

    def __init__(self, run: Run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._before = self._total()

    def read(self) -> Spent:
        """What was spent since the last reading."""
        now = self._total()
        spent, self._before = now - self._before, now
        return spent

    def _total(self) -> Spent:
        pacer = self._run.fhir.pacer if self._run.fhir is not None else None
        return Spent(
            self._clock(),
            pacer.points_spent if pacer else 0,
            self._run.puller.requests_made,
            pacer.answers_heard if pacer else 0,
        )


@dataclass(frozen=True)
class Done:
    """One window of one type, done; or the windows of an incremental pull together."""

    window: Window
    landed: Landed
    worked: Worked
    spent: Spent
    found: MappingOf[str, int] = field(default_factory=dict)
    """What a sweep found of absent rows, by name."""

    def after(self, earlier: "Done | None") -> "Done":
        """Both as one, under this one's window."""
        if earlier is None:
            return self
        worked = Worked(
            by_state=_sum(self.worked.by_state, earlier.worked.by_state),
            events=_sum(self.worked.events, earlier.worked.events),
            bundles=self.worked.bundles + earlier.worked.bundles,
            open=self.worked.open,
            groups_apart=self.worked.groups_apart + earlier.worked.groups_apart,
        )
        return replace(
            self,
            landed=self.landed + earlier.landed,
            worked=worked,
            spent=self.spent + earlier.spent,
            found=_sum(self.found, earlier.found),
        )


def _sum(one: MappingOf[Any, int], other: MappingOf[Any, int]) -> dict[Any, int]:
    summed = Counter(one)
    summed.update(other)
    return dict(summed)


def materialized(
    context: dg.AssetExecutionContext, mapping: Mapping[Any], done: Done
) -> Iterator[dg.AssetMaterialization]:
    """The window's own event; Dagster flushes it at the yield, log_event would not."""
    metadata = _of_window(done)
    _of_partition(context, mapping, done)
    for each in mapping.types:
        yield dg.AssetMaterialization(
            asset_key(each), partition=done.window.partition, metadata=metadata
        )


def results(
    context: dg.AssetExecutionContext,
    mapping: Mapping[Any],
    run: Run,
    done: Done | None,
    *,
    now: datetime,
    dry: bool,
    subset: bool,
) -> Iterator[dg.MaterializeResult[Any]]:
    """What the run ends with, for each type of the group: stock, mark, verdicts.

    Raises:
        Permanent: nothing may go on from this type; it is not reported as done.
    """
    balance = run.manifest.balances().get(mapping.stream)
    refuse_to_go_on(run, mapping, balance)
    metadata = _stock(mapping, run, balance, now)
    if done is not None and done.window.partition:
        _of_partition(context, mapping, done)
    elif done is not None:
        metadata |= _of_window(done) | _lag(run, mapping, done, now)
    checked = of_materialization(mapping, run, balance, dry=dry, subset=subset)
    for each in mapping.types:
        yield dg.MaterializeResult(
            asset_key=asset_key(each),
            metadata=metadata,
            check_results=checked if each == mapping.resource_type else [],
        )


def _of_partition(context: dg.AssetExecutionContext, mapping: Mapping[Any], done: Done) -> None:
    """Have the run's last event of this partition say the same: it would blot out the window's."""
    for each in mapping.types:
        context.add_asset_metadata(
            _of_window(done), asset_key=asset_key(each), partition_key=done.window.partition
        )


def _of_window(done: Done) -> dict[str, Any]:
    way, worked, spent = done.window.way.value, done.worked, done.spent
    held = worked.by_state.get(State.QUARANTINED, 0) + done.landed.quarantined
    sent = sum(number for event, number in worked.events.items() if event not in _NOT_SENT)
    numbers: dict[str, int | float] = {
        "pulled": done.landed.rows,
        "new_or_changed": done.landed.new + done.landed.changed,
        "sent": sent,
        **{state.value: number for state, number in worked.by_state.items() if number},
        "unchanged": worked.by_state.get(State.UNCHANGED, 0),
        "quarantined": held,
        **{f"resources_{event}": number for event, number in worked.events.items()},
        **done.found,
        "groups_not_atomic": worked.groups_apart,
        "bundles": worked.bundles,
        "points": spent.points,
        "legacy_requests": spent.legacy_requests,
        "medplum_requests": spent.medplum_requests,
        "seconds": round(spent.seconds, 3),
        "rows_per_second": round(done.landed.rows / spent.seconds, 1) if spent.seconds else 0.0,
    }
    return {f"{way}/{name}": number for name, number in numbers.items()}


def _lag(run: Run, mapping: Mapping[Any], done: Done, now: datetime) -> dict[str, float]:
    """Seconds from the newest change at the source to now, when it is settled; none if no news.

    The newest change is where the mark stands after it.
    """
    mark = run.manifest.high_water_mark(mapping.stream)
    news = done.landed.new + done.landed.changed
    if done.window.way is not Way.INCREMENTAL or mark is None or not news:
        return {}
    return {"incremental/lag_seconds": round(max(0.0, (now - mark).total_seconds()), 3)}


def _stock(
    mapping: Mapping[Any], run: Run, balance: Balance | None, now: datetime
) -> dict[str, Any]:
    mark = run.manifest.high_water_mark(mapping.stream)
    counts = balance.by_state if balance else dict.fromkeys(State, 0)
    stock: dict[str, Any] = {
        "rows_held": balance.eligible if balance else 0,
        **{f"balance/{state.value}": number for state, number in counts.items()},
        "balance": _table(run, mapping, balance),
        "phase": run.adoption.standing(mapping.resource_type).phase.value,
        "mark": dg.MetadataValue.timestamp(mark) if mark else "unset",
    }
    if mark is not None:
        stock["mark_age_seconds"] = round(max(0.0, (now - mark).total_seconds()), 3)
    return stock


def _table(run: Run, mapping: Mapping[Any], balance: Balance | None) -> dg.TableMetadataValue:
    """The balance of the type, and of those written from the same rows: a line each."""
    own = balance or Balance(0, dict.fromkeys(State, 0))
    related = {each: run.manifest.tallies.of_type(each, mapping.stream) for each in mapping.related}
    lines: list[dict[str, str | int]] = [
        {"type": kind, **TypeBalance(kind, each).as_numbers()}
        for kind, each in {mapping.resource_type: own, **related}.items()
    ]
    columns = [dg.TableColumn(name, "string" if name == "type" else "int") for name in lines[0]]
    return dg.MetadataValue.table(
        [dg.TableRecord(line) for line in lines], schema=dg.TableSchema(columns=columns)
    )
