"""Servers that we did not write, pulled while a writer changes them: nothing lost, stale or left.

The real clock, the real product path, real pages that drift: see ``drift``. ``make bench-drift``
does the same with more rows and prints what it found.
"""

from pathlib import Path

import pytest

from migration_assets_tests.third_party.drift import START, Difference, Size, measure

pytestmark = [
    pytest.mark.third_party,
    pytest.mark.usefixtures("servers"),
    pytest.mark.timeout(600),  # the packages are fetched once, over whatever line there is
]

SMALL = Size(rows=300, rounds=6, changes=120)


@pytest.mark.parametrize("server", START)
def test_a_server_that_is_changed_while_it_is_pulled_ends_as_its_replica(
    server: str, tmp_path: Path
) -> None:
    found = measure(server, SMALL, tmp_path, seed=1)
    assert found.after == Difference(lost=0, stale=0, ghosts=0, quarantined=0), found
    assert found.changes >= SMALL.changes
