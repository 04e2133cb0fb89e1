"""The balance of each type and over time, and how current each stream is.

Belongs here: numbers of the account by type, month, version and stream. Does not belong here: why
rows did not arrive (``exceptions``), or the comparison with Medplum (``evidence``).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.manifest import Manifest
from migration_assets.manifest.tallies import Dimension
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.reconciliation.balance import type_balances
from migration_assets.reconciliation.dimensions import Part, Windows, adds_up, balance_by
from migration_assets.signoff.values import ActLine, PauseLine, StreamLine, TypeLine
from migration_assets.steps.polling import current_until

MOST_COLUMNS = 60
"""Columns of a plot: five years of months; what is longer is told by year."""
_YEAR = 4


def type_lines(
    manifest: Manifest,
    mappings: Sequence[MappingOf[Any]],
    adoption: Adoption,
    *,
    start: date,
    today: date,
) -> tuple[TypeLine, ...]:
    """Every type in load order; a type holds if its balance does, in whole and by window."""
    windows = Windows("monthly", start, today)
    by_month = balance_by(manifest, mappings, Dimension.WINDOW, windows)
    by_version = balance_by(manifest, mappings, Dimension.VERSION, windows)
    makers = {name: each for each in mappings for name in each.types}
    made = []
    for each in type_balances(manifest, mappings):
        mapping = makers[each.resource_type]
        own = each.within is None
        parts = [one for one in by_month if own and one.resource_type == each.resource_type]
        made.append(
            TypeLine(
                resource_type=each.resource_type,
                within=each.within,
                stream=mapping.stream,
                phase=adoption.standing(mapping.resource_type).phase.value,
                numbers=each.as_numbers(),
                holds=each.balance.holds and (not own or adds_up(manifest, [mapping], parts)),
                version=mapping.version,
                owner=mapping.owner,
                review=mapping.review.value,
                versions={
                    one.name: one.balance.eligible
                    for one in by_version
                    if own and one.resource_type == each.resource_type
                },
                over_time=_over_time(parts),
            )
        )
    return tuple(made)


def _over_time(parts: Sequence[Part]) -> tuple[tuple[str, Mapping[str, int]], ...]:
    """Months, the empty ones between them too; years where there are too many; rows without one."""
    dated = {one.name[:7]: _numbers(one) for one in parts if one.name}
    undated = [("no date", _numbers(one)) for one in parts if not one.name]
    if not dated:
        return tuple(undated)
    first, last = min(dated), max(dated)
    names = [_month(number) for number in range(_number(first), _number(last) + 1)]
    if len(names) > MOST_COLUMNS:
        years = sorted({each[:_YEAR] for each in dated})[-MOST_COLUMNS:]
        return tuple(
            (year, _sum(each for name, each in dated.items() if name.startswith(year)))
            for year in years
        ) + tuple(undated)
    return tuple((name, dated.get(name, {})) for name in names) + tuple(undated)


def _numbers(part: Part) -> Mapping[str, int]:
    return {state.value: number for state, number in part.balance.by_state.items() if number}


def _sum(parts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: dict[str, int] = {}
    for each in parts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total


def _number(month: str) -> int:
    return 12 * int(month[:_YEAR]) + int(month[5:]) - 1


def _month(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


def stream_lines(
    manifest: Manifest, mappings: Sequence[MappingOf[Any]], now: datetime
) -> tuple[StreamLine, ...]:
    """How far each stream was read, and what is not kept of it any more."""
    counts, standing = manifest.contents.counts(), manifest.pauses.standing()
    made = []
    for each in mappings:
        mark, until = manifest.high_water_mark(each.stream), current_until(manifest, each.stream)
        latest = max((one for one in (mark, until) if one is not None), default=None)
        windows = manifest.pulled_windows(each.stream)
        swept = manifest.last_sweep(each.stream)
        rows, deleted = counts.get(each.stream, (0, 0))
        made.append(
            StreamLine(
                stream=each.stream,
                resource_type=each.resource_type,
                mark=mark,
                current_until=until,
                behind_seconds=None if latest is None else (now - latest).total_seconds(),
                windows=len(windows),
                last_window_at=max(windows.values(), default=None),
                swept_at=swept.finished_at if swept else None,
                sweep_verdict=swept.verdict if swept else None,
                sweep_gone=swept.gone if swept else 0,
                rows=rows,
                deleted=deleted,
                purged=manifest.contents.purged(each.stream),
                paused=each.stream in standing,
            )
        )
    return tuple(made)


def pause_lines(manifest: Manifest, streams: Sequence[str]) -> tuple[PauseLine, ...]:
    """When streams stood still, newest first."""
    return tuple(
        PauseLine(
            stream=each.stream,
            at=each.at,
            failed=each.failed,
            seen=each.seen,
            ended_at=each.ended_at,
            ended_by=each.ended_by,
        )
        for each in manifest.contents.sign_off.pauses()
        if each.stream in streams
    )


def act_lines(manifest: Manifest, streams: Sequence[str]) -> tuple[ActLine, ...]:
    """What was sealed and purged, newest first."""
    return tuple(
        ActLine(
            act=each.act,
            stream=each.stream,
            terms=each.terms,
            by=each.by,
            started_at=each.started_at,
            finished=each.finished_at is not None,
            rows=each.rows,
        )
        for each in manifest.protection.custody.latest()
        if each.stream is None or each.stream in streams
    )
