"""How late a stream was: what a gate asks for days later is not forgotten."""

from datetime import timedelta

from migration_assets.manifest import Manifest
from migration_assets.steps.polling import current_until, lateness, note_current
from migration_assets_tests.conftest import Clock


def test_the_longest_silence_of_the_days_asked_for_is_known_and_older_ones_do_not_count(
    manifest: Manifest, clock: Clock
) -> None:
    began = clock.now
    assert lateness(manifest, "patients", began) is None
    for silence in (0, 5, 7200, 30, 300):
        clock.now += timedelta(seconds=silence)
        note_current(manifest, "patients", clock.now)
    found = lateness(manifest, "patients", began)
    assert found is not None
    assert (found.since, found.worst) == (began, timedelta(hours=2))
    clock.now += timedelta(days=1) - timedelta(seconds=300)
    note_current(manifest, "patients", clock.now)
    clock.now += timedelta(seconds=90)
    note_current(manifest, "patients", clock.now)
    late = lateness(manifest, "patients", clock.now + timedelta(days=1))
    assert late is not None
    assert late.worst == timedelta(0)
    assert lateness(manifest, "organizations", began) is None


def test_a_report_that_comes_late_takes_nothing_back(manifest: Manifest, clock: Clock) -> None:
    note_current(manifest, "patients", clock.now)
    note_current(manifest, "patients", clock.now - timedelta(hours=3))
    assert current_until(manifest, "patients") == clock.now
    found = lateness(manifest, "patients", clock.now - timedelta(days=1))
    assert found is not None
    assert found.worst == timedelta(0)
