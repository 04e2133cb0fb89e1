"""`migration demo --chaos`: Medplum and the line fail all the time, and the account balances."""

import json
from pathlib import Path

import pytest

from migration_assets_tests.cli.command import founded, migration, start

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]


def test_a_migration_through_chaos_ends_balanced_with_each_resource_there_once(
    tmp_path: Path,
) -> None:
    founded(tmp_path, patients=10, seed=5)
    running = start("demo", "--chaos", "--seed", "5", folder=tmp_path)
    output, _ = running.communicate(timeout=250)  # it really waits after an answer that got lost
    assert running.returncode == 0, output
    said = " ".join(output.split())
    assert "What went wrong on the way" in said
    assert "each is there, once" in said
    status = migration("status", "--json", folder=tmp_path)
    types = json.loads(status.stdout)["types"]
    assert all(numbers["pending"] == numbers["rejected"] == 0 for numbers in types.values())
