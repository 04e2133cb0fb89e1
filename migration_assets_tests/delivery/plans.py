"""What may happen to a migration: plans of its runs, and how Hypothesis draws them."""

from dataclasses import dataclass
from typing import Any, Literal

import hypothesis.strategies as st

from migration_assets.medplum import Via
from migration_assets_tests.delivery.clinic import (
    KEYS,
    PERSONS,
    PLACES,
    ROOMS,
    STAYS,
    Living,
    first_tokens,
    tokens,
)
from migration_assets_tests.delivery.cut_off import LOST_ANSWER
from migration_assets_tests.delivery.somebody import Deed

Change = tuple[str, str, Living | None]


@dataclass(frozen=True)
class Project:
    """What stays as it is for as long as a migration lasts.

    ``marks``: removed records are kept and marked, where the type can say so.
    """

    authority: Literal["legacy", "medplum"] | None = None
    transactions: bool = True
    marks: bool = False


@dataclass(frozen=True)
class Plan:
    """One run: what happened before it, how it delivers, and what goes wrong meanwhile.

    ``entries``: in a bundle at most, so that there are several even here. ``faults`` is the seed of
    a mixture of all that Medplum gets wrong, or None; ``edited``: somebody edits meanwhile, too.
    ``where``: the stream whose calls ``doom`` counts, if not those of all. ``meanwhile``: lands
    while the first bundle of its stream is under way.
    """

    changes: tuple[Change, ...] = ()
    deeds: tuple[tuple[Deed, str], ...] = ()
    doom: tuple[str, int, bool] | None = None
    where: str | None = None
    faults: int | None = None
    edited: bool = False
    exclusive: bool = False
    lanes: int = 1
    via: Via = "batch"
    entries: int = 200
    whole: bool = True
    meanwhile: Change | None = None


_OUT = st.sampled_from([*[False] * 6, True])
_NAMES = st.sampled_from("xyz")
_AT = {stream: st.sampled_from([keys[0]] * 5 + list(keys)) for stream, keys in KEYS.items()}
"""The first key of a stream more often than others: stories need one row to change twice."""


def _rows(stream: str, **content: Any) -> st.SearchStrategy[Change]:
    beside = {"archived": _OUT} if stream in (PLACES, PERSONS) else {}
    if stream == PERSONS:
        beside["merged_into"] = st.sampled_from([*[None] * 5, *KEYS[PERSONS]])
    living = st.builds(
        Living, content=st.fixed_dictionaries({**content, "left_out": _OUT}), **beside
    )
    return st.tuples(st.just(stream), _AT[stream], st.one_of(living, living, living, st.none()))


_CHANGES = {
    PLACES: _rows(PLACES, name=_NAMES, founder=st.sampled_from([None, *KEYS[PERSONS]])),
    PERSONS: _rows(PERSONS, name=_NAMES, place=st.sampled_from([None, *KEYS[PLACES]])),
    STAYS: _rows(
        STAYS,
        person=_AT[PERSONS],
        length=st.integers(1, 3),
        note=st.sampled_from([None, "well", "unwell"]),
    ),
    ROOMS: _rows(ROOMS, name=_NAMES),
}
_FOCUS = st.shared(st.sampled_from([None, *KEYS]), key="focus")
"""A stream that most of a migration's changes and deeds are about, if any."""
CHANGES: st.SearchStrategy[Change] = st.one_of(
    *[_FOCUS.flatmap(lambda stream: _CHANGES[stream or PERSONS])] * len(KEYS),
    *_CHANGES.values(),
)
DEEDS: st.SearchStrategy[tuple[Deed, str]] = st.tuples(
    st.sampled_from(["edit", "edit", "edit", "create", "create", "delete", "replace"]),
    _FOCUS.flatmap(
        lambda stream: st.sampled_from(first_tokens(stream)) | st.sampled_from(tokens())
    ),
)
_CALLS = {"post_bundle": 5, "settle": 4, LOST_ANSWER: 3, "intend": 2, "run_job": 2} | dict.fromkeys(
    ("search", "land", "former_ids", "known_ids", "release_awaiting"), 1
)
DOOMS = st.tuples(
    st.sampled_from([name for name, weight in _CALLS.items() for _ in range(weight)]),
    st.sampled_from([1, 1, 1, 1, 2, 2, 3, 4]),
    st.booleans(),
)
PROJECTS = st.builds(
    Project,
    authority=st.sampled_from([None, "legacy", "medplum"]),
    transactions=st.booleans(),
    marks=st.booleans(),
)
PLANS = st.builds(
    Plan,
    changes=st.lists(CHANGES, min_size=1, max_size=3).map(tuple),
    deeds=st.lists(DEEDS, max_size=2).map(tuple),
    doom=st.none() | DOOMS | DOOMS | DOOMS,
    where=_FOCUS,
    faults=st.none() | st.integers(0, 999),
    edited=_OUT,
    exclusive=st.booleans(),
    lanes=st.integers(1, 4),
    via=st.sampled_from(["batch", "batch", "async_batch"]),
    entries=st.sampled_from([1, 2, 200]),
    whole=st.booleans(),
    meanwhile=st.none() | st.none() | CHANGES,
)
