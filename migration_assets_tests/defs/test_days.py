"""Daily partitions, materialized one by one over the real parts."""

from datetime import timedelta

from migration_assets.defs.keys import asset_key
from migration_assets.manifest import State
from migration_assets_tests.defs.small_clinic import SmallClinic

DAY = timedelta(days=1)


def test_a_day_that_is_materialized_brings_that_days_changes_and_no_others(
    clinic: SmallClinic,
) -> None:
    """A day without changes is done as well: else it is missing in the UI for ever."""
    clinic.setting("MIGRATION_PARTITIONS", "daily")
    today = clinic.connections.clock().date()
    for day, rows in ((today - DAY, 0), (today, 4)):
        result = clinic.run(partition=day.isoformat())
        assert result.success
        with clinic.connections.manifest() as manifest:
            balances = manifest.balances().values()
            assert sum(each.eligible for each in balances) == rows
            assert sum(each.by_state[State.MIGRATED] for each in balances) == rows
            assert day.isoformat() in manifest.pulled_windows("patients")
    done = clinic.instance.get_materialized_partitions(asset_key("Patient"))
    assert done == {(today - DAY).isoformat(), today.isoformat()}
    assert clinic.sandbox.stats()["resources"]["Patient"] == 3
