"""A comparison's memory does not grow with what it compares.

``python -m migration_assets_tests.bench.reconcile_memory 1000000`` measures a million.
"""

from migration_assets_tests.bench.own_process import measured_apart

SIZE = 9_000
WARM = 5_000
"""By then every cache is full: SQLite's, the allocator's, and references that wait."""
_KEPT = 600
"""Bytes that a resource would take if it were kept: its page alone has 400 of it."""


def test_as_much_again_takes_no_more_memory_and_points_stay_below_a_twentieth() -> None:
    """Identifiers, then references to hundreds of targets that are looked for once each."""
    found = measured_apart("reconcile_memory", str(SIZE))
    assert found["found"] == {"missing": SIZE // 1_000}
    assert found["references"] == {}
    assert found["references_looked_at"] >= SIZE - SIZE // 1_000
    peaks = [(read, mb) for read, mb in found["peaks"] if read <= SIZE]
    again = [(read - SIZE, mb) for read, mb in found["peaks"] if read > SIZE + 1_000]
    for some in (peaks, again):
        warm = max(mb for read, mb in some if read <= WARM + 1_000)
        grown = (some[-1][1] - warm) * (1 << 20)
        assert grown < _KEPT * (SIZE - WARM) / 2, found["peaks"]
    assert found["points_per_resource"] <= 0.05
    assert found["points_per_resource_references"] <= 0.05
