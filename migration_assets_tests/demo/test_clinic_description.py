"""The demo clinic as the product pulls it: through clinic.yaml, over a socket."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from migration_assets.demo import clinic_server
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import KEY_FIELDS
from migration_assets.demo.population import generate
from migration_assets.legacy import PulledRow, Puller, load_description
from migration_assets.mappings import discover
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY, NOW, found

_DESCRIPTION = Path(clinic_server.__file__).with_name("clinic.yaml")


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    """A clinic of 80 patients."""
    with start_clinic(
        found(tmp_path, patients=80), api_key=API_KEY, admin_key=ADMIN_KEY
    ) as running:
        yield running


@pytest.fixture
def puller(clinic: Clinic) -> Iterator[Puller]:
    """The product's own puller, with the clinic's description."""
    environ = {"MIGRATION_LEGACY_URL": clinic.base_url, "MIGRATION_LEGACY_API_KEY": API_KEY}
    made = Puller(load_description(_DESCRIPTION), environ=environ)
    yield made
    made.close()


def test_every_row_is_pulled_and_only_hopeless_ones_have_no_key(puller: Puller) -> None:
    population = list(generate(80, 7, NOW))
    for stream in KEY_FIELDS:
        pulled = _pull(puller, stream)
        made = [row.key for row in population if row.stream == stream]
        assert Counter(row.key or "" for row in pulled) == Counter(made)
        assert {row.problem for row in pulled if row.key is None} <= {"id-missing", "not-an-object"}
        assert not [row for row in pulled if row.key and (row.problem or row.changed_at is None)]


def test_windows_laid_end_to_end_give_every_row_once(puller: Puller) -> None:
    whole = Counter(repr(row.row) for row in _pull(puller, "encounters"))
    edges = [NOW - timedelta(days=days) for days in (800, 500, 333, 100, 7, 0)]
    parts = Counter(
        repr(row.row)
        for since, until in pairwise(edges)
        for page in puller.pages("encounters", since, until)
        for row in page.rows
    )
    assert parts == whole


def test_a_change_is_pulled_and_a_deletion_arrives_as_one(clinic: Clinic, puller: Puller) -> None:
    began = datetime.now(UTC) - timedelta(milliseconds=1)
    changed = clinic.change(5, updates=4, deletes=3)
    pulled = [
        (stream, row.key, row.deleted)
        for stream in KEY_FIELDS
        for page in puller.pages(stream, began, None)
        for row in page.rows
        if row.problem is None
    ]
    expected = [(*place, False) for place in changed["updated"]]
    expected += [(*place, True) for place in changed["deleted"]]
    assert sorted(pulled) == sorted(expected)


def test_a_stream_that_nobody_foresaw_needs_no_line_in_the_description(
    clinic: Clinic, puller: Puller
) -> None:
    clinic.put("allergies", "A1", {"id": "A1", "substance": "pollen"})
    assert [row.key for row in _pull(puller, "allergies")] == ["A1"]


def test_the_clinic_has_the_stream_of_every_mapping() -> None:
    assert {mapping.stream for mapping in discover().values()} <= KEY_FIELDS.keys()


def _pull(puller: Puller, stream: str) -> list[PulledRow]:
    return [row for page in puller.pages(stream, None, None) for row in page.rows]
