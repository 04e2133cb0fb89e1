"""One page on its way to the account, for the spine (``pipeline``) and the sweep alike.

Belongs here: in which transactions its rows are committed. Does not belong here: which pages, or
what is committed alongside.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from migration_assets.legacy import PulledPage, PulledRow
from migration_assets.manifest import Alongside, Landed
from migration_assets.mapping import Mapping
from migration_assets.run import Run

LANDED_AT_ONCE = 1_000
"""Rows of a page in one transaction; few sources send as many."""


def land_page(
    run: Run, mapping: Mapping[Any], page: PulledPage, *, reopen: bool, alongside: Alongside
) -> Landed:
    """Put a page on account; with its last rows, in one transaction, what goes alongside.

    A page of 64 MiB landed at once took 1.6 GB; in pieces it takes what its parsed rows take.
    """
    alongside = replace(alongside, slack=run.puller.time_slack(mapping.stream))
    before = replace(alongside, mark=None, window=None, parents=())
    *pieces, last = _pieces(page.rows)
    total = Landed()
    for rows, beside in (*((each, before) for each in pieces), (last, alongside)):
        total += run.manifest.land(
            mapping.stream, rows, run_id=run.id, reopen=reopen, alongside=beside
        )
    run.progress.landed(mapping.resource_type, len(page.rows))
    return total


def _pieces(rows: tuple[PulledRow, ...]) -> Iterator[tuple[PulledRow, ...]]:
    """What is landed at once; one empty piece of an empty page, for its mark."""
    for start in range(0, max(len(rows), 1), LANDED_AT_ONCE):
        yield rows[start : start + LANDED_AT_ONCE]
