"""The rows of a rehearsal: as they are on account, or as the legacy API shows them now.

Belongs here: choosing them, and making units of pulled rows without landing them. Does not belong
here: what would become of them (``rehearsing``).
"""

import heapq
import itertools
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest, State, Unit
from migration_assets.manifest.collisions import DUPLICATE_KEY
from migration_assets.manifest.landing import UNUSABLE_KEY
from migration_assets.manifest.payload import canonical, row_hash
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.manifest.subsets import Subset
from migration_assets.run import Puller

CHUNK = 500


def landed_rows(manifest: Manifest, stream: str, subset: Subset) -> Iterator[list[SettledUnit]]:
    """The units of ``stream`` that a subset means, whatever their state, in landing order."""
    numbers = manifest.remapping.chosen(stream, subset)
    for start in range(0, len(numbers), CHUNK):
        yield manifest.remapping.settled(numbers[start : start + CHUNK])


def live_rows(
    manifest: Manifest, puller: Puller, stream: str, subset: Subset
) -> Iterator[list[SettledUnit]]:
    """What the legacy API serves of ``stream`` now, with what is on account of it.

    A limit ends the pull as soon as it is reached; a sample has to read everything.

    Raises:
        Transient, Permanent: the source cannot be pulled.
    """
    with closing(_pulled(puller, stream, subset)) as pulled:
        rows: Iterator[PulledRow] = itertools.islice(_sampled(pulled, subset), subset.limit)
        number = itertools.count(1)
        seen: dict[str, bytes] = {}
        while chunk := list(itertools.islice(rows, CHUNK)):
            known = manifest.remapping.on_account(
                stream, [each.key for each in chunk if each.key is not None]
            )
            yield [
                unit
                for each in chunk
                if (unit := _unit(stream, each, known.get(each.key or ""), -next(number), seen))
            ]


def _pulled(puller: Puller, stream: str, subset: Subset) -> Generator[PulledRow, None, None]:
    wanted = set(subset.keys)
    for page in puller.pages(stream, subset.since, subset.until):
        yield from (each for each in page.rows if not wanted or each.key in wanted)


def _sampled(pulled: Iterable[PulledRow], subset: Subset) -> Iterator[PulledRow]:
    if subset.sample is None:
        yield from pulled
        return
    drawn = heapq.nsmallest(
        subset.sample,
        ((subset.lot(each.key or ""), place, each) for place, each in enumerate(pulled)),
    )
    yield from (each for _lot, _place, each in sorted(drawn, key=lambda one: one[1]))


def _unit(
    stream: str, pulled: PulledRow, known: SettledUnit | None, number: int, seen: dict[str, bytes]
) -> SettledUnit | None:
    """The unit that a row would become; None for a repeat of one that was served before."""
    key = pulled.key if pulled.key is not None else ""
    problem = pulled.problem or (None if pulled.key is not None else UNUSABLE_KEY)
    if problem is None:
        content = row_hash(canonical(pulled.row))
        if seen.get(key) == content:
            return None  # pages may overlap
        if seen.setdefault(key, content) != content:
            problem = DUPLICATE_KEY
    if problem is None and known is not None and known.held:
        return known
    unit = Unit(
        number if known is None else known.unit.id,
        stream,
        key,
        1,
        known.unit.row if known is not None and pulled.deleted else pulled.row,
        pulled.deleted,
        () if known is None else known.unit.targets,
        pulled.archived,
        pulled.merged_into,
    )
    state = State.PENDING if problem is None else State.QUARANTINED
    return SettledUnit(unit, state, problem, None, None, held=problem is not None)
