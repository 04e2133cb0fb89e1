"""The sweep: a whole reading of a stream that finds what no change time tells (legacy-apis §4.5).

Belongs here: when a row that did not come is believed to be gone. Does not belong here: proving
that a reading was whole (``legacy``), the ledger of what was seen (``manifest``), or what becomes
of a removed row's resources (``preparation``).

Silence is no proof. A row that a whole reading did not show is a candidate only; it is gone when
the source says so about that very row (404, 410, or a tombstone), or when two sweeps in a row did
not see it. Where too many rows are missing at once something is wrong with the reading, and nothing
is changed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.legacy import Presence, PulledPage, Sighting
from migration_assets.manifest import Absent, Alongside, Landed, Lease, SweepEnd
from migration_assets.mapping import Mapping
from migration_assets.run import SETTLE_LAG, Run
from migration_assets.steps.cohorts import note_all
from migration_assets.steps.landing import land_page
from migration_assets.steps.pausing import refuse_paused
from migration_assets.steps.polling import note_current

ALWAYS_ALLOWED = 3
"""Rows that may be missing from a sweep of however small a stream."""

ALLOWED_SHARE = 0.05
"""Share of a stream's live rows that may be missing from a sweep before it is refused."""

_UNKEYED = "~"
_BESIDE = re.compile(r".+~[0-9a-f]{12}", re.DOTALL)  # of a row that collided: no key of the source
_CHUNK = 500


@dataclass(frozen=True)
class Sweep:
    """What a sweep found: ``gone`` rows are pending removal, ``waiting`` ones need another sweep.

    ``hidden`` rows were not in the list, although the source has them when asked by key.
    """

    landed: Landed
    held: int
    absent: int
    gone: int
    waiting: int
    hidden: int


def sweep(
    run: Run,
    mapping: Mapping[Any],
    *,
    allow_missing: int | None = None,
    partition: str | None = None,
) -> Sweep:
    """Read a stream whole, land what changed, and find out which rows are gone.

    ``allow_missing`` replaces the breaker's limit for this once, after a person has looked.

    Raises:
        Transient: the source could not be read whole, or another run is sweeping this stream.
        Permanent: too many rows are missing to be believed; no absence counts, what changed stays.
            Or the stream is paused.
    """
    refuse_paused(run, mapping)
    note_all(run.manifest, mapping, run.adoption.standing(mapping.resource_type), live=True)
    with run.manifest.lease(f"sweep of {mapping.stream}", run.label) as lease:
        asked = run.puller.asks_for(mapping.stream)
        number = run.manifest.start_sweep(mapping.stream, run_id=run.id, asked=asked)
        landed = _read_whole(run, mapping, number, lease, partition)
        held, absent = run.manifest.held_at_start(number), run.manifest.count_absent(number)
        limit = _limit(held) if allow_missing is None else allow_missing
        if absent > limit or (absent and not landed.rows and allow_missing is None):
            run.manifest.end_sweep(
                number, SweepEnd(verdict="refused", rows=landed.rows, absent=absent), lease=lease
            )
            raise Permanent(
                f"Sweeping {mapping.stream} was refused: {absent:,} of {held:,} rows on account "
                f"did not come, more than the {limit:,} that are believed at once. No row counts "
                "as deleted. Look whether the source shows everything to this credential; if they "
                f"were really deleted, sweep again with --allow-missing {absent}."
            )
        verdicts = _Verdicts(run, mapping, number, lease)
        for each in _absent(run, number):
            verdicts.judge(each)
        end = SweepEnd(
            verdict="believed",
            rows=landed.rows,
            absent=absent,
            gone=tuple(verdicts.gone),
            missed=tuple(verdicts.missed),
        )
        gone = run.manifest.end_sweep(number, end, lease=lease)
    return Sweep(landed, held, absent, gone, len(verdicts.missed), verdicts.hidden)


def _limit(held: int) -> int:
    return max(ALWAYS_ALLOWED, int(ALLOWED_SHARE * held))


def _made_up(key: str) -> bool:
    """Whether the source would not know the key: its 404 would prove nothing."""
    return key.startswith(_UNKEYED) or _BESIDE.fullmatch(key) is not None


def _read_whole(
    run: Run, mapping: Mapping[Any], number: int, lease: Lease, partition: str | None
) -> Landed:
    """Land every page; the last one closes the partition that stands for the whole stream."""
    total = Landed()
    held: PulledPage | None = None
    for page in run.puller.pages(mapping.stream, None, None, whole=True):
        run.manifest.renew(lease)  # before landing: whoever slept until now may be one of two
        if held is not None:
            total += _land(run, mapping, number, held, None)
        held = page
    if held is not None:
        rows = total.rows + len(held.rows)
        total += _land(run, mapping, number, held, (partition, rows) if partition else None)
        note_current(run.manifest, mapping.stream, held.server_time - SETTLE_LAG)
    run.progress.settled(mapping.resource_type, total.quarantined)
    return total


def _land(
    run: Run,
    mapping: Mapping[Any],
    number: int,
    page: PulledPage,
    window: tuple[str, int] | None,
) -> Landed:
    alongside = Alongside(seed=page.server_time - SETTLE_LAG, window=window, sweep=number)
    return land_page(run, mapping, page, reopen=False, alongside=alongside)


def _absent(run: Run, number: int) -> Iterator[Absent]:
    after = 0
    while found := run.manifest.absent_units(number, after_id=after, limit=_CHUNK):
        after = found[-1].id
        yield from found


class _Verdicts:
    """What becomes of each candidate; nothing of it is written before all are judged."""

    def __init__(self, run: Run, mapping: Mapping[Any], number: int, lease: Lease) -> None:
        self.gone: list[Absent] = []
        self.missed: list[Absent] = []
        self.hidden = 0
        self._run = run
        self._mapping = mapping
        self._number = number
        self._lease = lease
        self._asks: bool | None = None

    def judge(self, each: Absent) -> None:
        """Ask the source for the row itself where it can be asked, else count the sweeps."""
        self._run.manifest.renew(self._lease)
        presence = Presence.UNKNOWN
        if not _made_up(each.key) and self._look_ups_can_be_believed():
            sighting = self._run.puller.look_up(self._mapping.stream, each.key)
            presence = sighting.presence
            if presence is Presence.PRESENT:
                self._keep(each, sighting)
        if presence is Presence.PRESENT:
            self.hidden += 1
        elif presence is Presence.GONE or each.missed > 0:
            self.gone.append(each)
        else:
            self.missed.append(each)

    def _keep(self, each: Absent, sighting: Sighting) -> None:
        """Note that the source has it, in the shape of a landed row or at least that much."""
        row = sighting.row
        if row is not None and sighting.landable:
            self._run.manifest.land(
                self._mapping.stream,
                [row],
                run_id=self._run.id,
                reopen=False,
                alongside=Alongside(sweep=self._number),
            )
        else:
            into = row.merged_into if row is not None else None
            self._run.manifest.note_presence(self._number, each, merged_into=into)

    def _look_ups_can_be_believed(self) -> bool:
        """Whether a row that was just seen is found by its key: else every 404 means the path."""
        if self._asks is None:
            stream, seen = self._mapping.stream, self._run.manifest.seen_key(self._number)
            self._asks = (
                seen is not None
                and self._run.puller.can_look_up(stream)
                and self._run.puller.look_up(stream, seen).presence is Presence.PRESENT
            )
        return self._asks
