"""Where the rows to be profiled come from: the account, a sample of it, or the source's pages.

Belongs here: from both kinds of row to ``SeenRow``, in chunks. Does not belong here: counting.
Nothing is landed and nothing is marked as read: a live sample leaves the account as it is.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

from migration_assets.legacy import PulledPage, Puller, Source
from migration_assets.manifest import Content, Manifest
from migration_assets.profiling.references import ReferenceTally
from migration_assets.profiling.stream import Origin, SeenRow, StreamProfile, profile

LIVE_ROWS = 1_000
"""Rows a live profile asks for at least, unless told otherwise."""


def profile_landed(
    manifest: Manifest, stream: str, *, sample: int | None = None, seed: int = 0
) -> StreamProfile:
    """The profile of the rows on account; of ``sample`` of them, drawn by ``seed``, if given."""
    counts = manifest.contents.counts()
    total, deleted = counts.get(stream, (0, 0))
    purged = manifest.contents.purged(stream)
    but = f", but {purged:,} that were purged" if purged else ""
    if sample is None:
        origin = Origin(f"every row on account{but}", total, deleted)
        chunks = manifest.contents.rows(stream)
    else:
        origin = Origin(f"{sample:,} rows on account drawn by seed {seed}{but}", total, deleted)
        chunks = manifest.contents.sample(stream, size=sample, seed=seed)
    references = ReferenceTally(counts, manifest.contents.keys_known)
    return profile(stream, origin, map(_landed, chunks), references)


def profile_live(
    puller: Puller, source: Source, manifest: Manifest, stream: str, *, rows: int = LIVE_ROWS
) -> StreamProfile:
    """The profile of the source's first pages, until they hold ``rows`` rows.

    Of a queue only the first page is asked for: the second would tell the source that the first
    has been read.

    Raises:
        Permanent, Transient: as ``Puller``.
    """
    pages = _first_pages(puller, stream, rows, one=source.stream(stream).queue is not None)
    references = ReferenceTally(manifest.contents.counts(), manifest.contents.keys_known)
    return profile(stream, Origin("the source's first pages"), map(_pulled, pages), references)


def _first_pages(puller: Puller, stream: str, rows: int, *, one: bool) -> Iterator[PulledPage]:
    seen = 0
    with closing(_pages(puller, stream)) as pages:
        for page in pages:
            yield page
            seen += len(page.rows)
            if one or seen >= rows:
                return


def _pages(puller: Puller, stream: str) -> Generator[PulledPage, None, None]:
    yield from puller.pages(stream, None, None)


def _landed(contents: Iterable[Content]) -> Sequence[SeenRow]:
    return [
        SeenRow(
            # The account's own names for rows that came without a key (manifest.landing).
            None if each.key.startswith("~") else each.key,
            each.row,
            each.changed_at,
            each.reason,
        )
        for each in contents
    ]


def _pulled(page: PulledPage) -> Sequence[SeenRow]:
    return [
        SeenRow(each.key, each.row, each.changed_at, each.problem)
        for each in page.rows
        if not each.deleted
    ]
