"""The benchmark of size runs, at a tiny size, and fills what the product would have written."""

from datetime import UTC, datetime
from pathlib import Path

from migration_assets.manifest import Manifest
from migration_assets_tests.bench import size
from migration_assets_tests.bench.filling import fill


def test_a_filled_manifest_is_one_that_the_product_can_work_with(manifest_url: str) -> None:
    """Brought up from the schema before the tallies, with data of every table in it."""
    fill(manifest_url, 3_000)
    manifest = Manifest(manifest_url, clock=lambda: datetime.now(UTC))
    balances = manifest.balances()
    assert sum(each.eligible for each in balances.values()) == 3_000
    assert all(each.holds for each in balances.values())
    assert manifest.tallies.recount() == {}
    assert sum(each.count for each in manifest.exceptions()) > 50
    (unit,) = manifest.pending_units("patients", limit=1)
    assert unit.row["name"]
    manifest.close()


def test_every_question_is_asked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'manifest.db'}"
    fill(url, 3_000)
    found = size.measure(url)
    assert found["units"] == 3_000
    assert {*size._BALANCES, *size._EXCEPTIONS} <= found.keys()
