"""The kept balance is the counted one, whatever is written, rolled back or written at once."""

import threading
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings

from migration_assets.manifest import Manifest, State
from migration_assets.manifest.schema import tallies, targets, units
from migration_assets.manifest.tallies import Dimension
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import START, migrated, row

DAY = 86_400_000_000

numbers = st.integers(0, 5)
changes = st.fixed_dictionaries(
    {
        "state": st.sampled_from([each.value for each in State]),
        "changed_at": st.sampled_from([None, -1, -DAY, 0, DAY - 1, DAY, 3 * DAY]),
        "mapping_version": st.sampled_from([None, "1", "2"]),
        "seen_run": st.integers(1, 3),
        "settled_run": st.sampled_from([None, 1, 2]),
        "settled_at": st.sampled_from([None, 1, 2]),
        "landed_at": st.integers(1, 2),
    }
)
steps = st.one_of(
    st.tuples(st.just("land"), st.lists(changes, min_size=1, max_size=3)),
    st.tuples(st.just("change"), st.tuples(st.sets(numbers, min_size=1), changes)),
    st.tuples(st.just("own"), st.lists(st.tuples(numbers, st.sampled_from("AB")), max_size=4)),
    st.tuples(st.just("hand over"), st.tuples(st.sets(numbers, min_size=1), numbers)),
    st.tuples(st.just("forget"), st.tuples(st.sampled_from(["units", "targets"]), numbers)),
    st.tuples(st.just("rename"), st.tuples(st.sets(numbers, min_size=1), st.sampled_from("AB"))),
)
transactions = st.lists(
    st.tuples(st.lists(steps, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=8
)


def _take(connection: sa.Connection, step: tuple[str, Any], counter: list[int]) -> None:
    """One statement, of many rows: what it means is less important than that it is unusual."""
    name, what = step
    ids = list(connection.execute(sa.select(units.c.id).order_by(units.c.id)).scalars()) or [0]
    owned = list(connection.execute(sa.select(targets.c.id).order_by(targets.c.id)).scalars())

    def unit(number: int) -> Any:
        return ids[number % len(ids)]

    counter[0] += 10
    if name == "land":
        fixed = {"revision": 1, "row_hash": b"", "payload": b"", "deleted": False, "missed": 0}
        values = [
            {"stream": "ab"[at % 2], "key": f"{counter[0]}-{at}", **fixed, **each}
            for at, each in enumerate(what)
        ]
        connection.execute(sa.insert(units).values(values))
    elif name == "change":
        some = units.c.id.in_([unit(each) for each in what[0]])
        connection.execute(sa.update(units).where(some).values(**what[1]))
    elif name == "own" and what:
        made = [
            {"unit_id": unit(number), "resource_type": kind, "deleted": False}
            | {"token": f"{counter[0]}-{at}"}
            for at, (number, kind) in enumerate(what)
        ]
        connection.execute(sa.insert(targets).values(made))
    elif name in ("hand over", "rename") and owned:
        some = targets.c.id.in_([owned[each % len(owned)] for each in what[0]])
        to = {"unit_id": unit(what[1])} if name == "hand over" else {"resource_type": what[1]}
        connection.execute(sa.update(targets).where(some).values(**to))
    elif name == "forget" and what[0] == "targets" and owned:
        gone = targets.c.id == owned[what[1] % len(owned)]
        connection.execute(sa.delete(targets).where(gone))
    elif name == "forget" and what[0] == "units":
        gone_unit = unit(what[1])
        connection.execute(sa.delete(units).where(units.c.id == gone_unit))
        connection.execute(sa.delete(targets).where(targets.c.unit_id == gone_unit))


def test_what_is_kept_is_what_would_be_counted_after_any_history(
    manifest: Manifest, manifest_url: str
) -> None:
    """Transactions of any statements, committed or broken off; folded in between."""
    engine = sa.create_engine(manifest_url.replace("postgresql:", "postgresql+psycopg:"))
    counter = [0]

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(transactions)
    def history(listed: list[tuple[list[tuple[str, Any]], bool]]) -> None:
        for steps_, broken_off in listed:
            with engine.connect() as connection:
                for each in steps_:
                    _take(connection, each, counter)
                if broken_off:
                    connection.rollback()
                else:
                    connection.commit()
            assert manifest.tallies.recount() == {}, steps_
        manifest.start_run("fold", pipeline_version="1")
        assert manifest.tallies.recount() == {}
        _every_dimension_adds_up(manifest)

    history()
    engine.dispose()


def _every_dimension_adds_up(manifest: Manifest) -> None:
    whole = manifest.balances()
    assert all(each.holds for each in whole.values())
    for dimension in (Dimension.WINDOW, Dimension.VERSION, Dimension.RUN):
        parts = manifest.tallies.by(dimension)
        for stream, balance in whole.items():
            mine = [each for (at, _name), each in parts.items() if at == stream]
            assert sum(each.eligible for each in mine) == balance.eligible
            for state in State:
                assert sum(each.by_state[state] for each in mine) == balance.by_state[state]


def test_each_row_is_found_by_its_window_version_and_run(manifest: Manifest, clock: Clock) -> None:
    for number, key in enumerate(("P1", "P2", "P3")):
        day = number * 86_400
        manifest.land("patients", [row(key, at=day)], run_id=1, reopen=False)
    clock.now += timedelta(seconds=1)
    first, second, _third = manifest.pending_units("patients")
    manifest.settle([migrated(first), migrated(second)], run_id=2)
    clock.now += timedelta(seconds=1)
    manifest.land("patients", [row("P2", at=86_500, name="new")], run_id=3, reopen=False)
    since_1970 = (START - START.fromtimestamp(0, START.tzinfo)).days
    found = {
        dimension: {
            name: {state.value: n for state, n in balance.by_state.items() if n}
            for (_stream, name), balance in manifest.tallies.by(dimension).items()
        }
        for dimension in Dimension
    }
    assert found == {
        Dimension.WINDOW: {
            str(since_1970): {"migrated": 1},
            str(since_1970 + 1): {"pending": 1},
            str(since_1970 + 2): {"pending": 1},
        },
        Dimension.VERSION: {"": {"pending": 1}, "1.0.0": {"migrated": 1, "pending": 1}},
        Dimension.RUN: {"1": {"pending": 1}, "2": {"migrated": 1}, "3": {"pending": 1}},
        Dimension.TYPE: {"Patient": {"migrated": 1, "pending": 1}},
    }


def test_a_tally_that_was_tampered_with_is_found_and_corrected(
    manifest: Manifest, manifest_url: str
) -> None:
    """Whoever writes to the database by hand, or drops a trigger, must not go unnoticed."""
    manifest.land("patients", [row("P1"), row("P2")], run_id=1, reopen=False)
    engine = sa.create_engine(manifest_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        wrong = sa.update(tallies).where(tallies.c.kind == "version")
        connection.execute(wrong.values(counted=tallies.c.counted + 5))
    assert not manifest.balances()["patients"].holds
    found = manifest.tallies.recount()
    assert set(found.values()) == {(7, 2)}
    for _ in range(2):
        manifest.tallies.correct(found)
        assert (manifest.tallies.recount() == {}) == manifest.balances()["patients"].holds
        found = manifest.tallies.recount()
    assert found == {}
    engine.dispose()


def test_two_who_write_at_once_wait_for_nobodys_tally_and_lose_none(
    postgres_url: str, clock: Clock
) -> None:
    """The state of a unit changes while its first resource is written down: who counts what?"""
    manifest = Manifest(postgres_url, clock=clock)
    manifest.land("patients", [row("P1"), row("P2")], run_id=1, reopen=False)
    first, second = (each.id for each in manifest.pending_units("patients"))
    engine = sa.create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    skipped = sa.update(units).values(state=State.SKIPPED.value)
    owned = {"unit_id": first, "resource_type": "Patient", "token": "t", "deleted": False}
    with engine.connect() as one, engine.connect() as other:
        one.execute(sa.insert(targets).values(**owned))
        other.execute(skipped.where(units.c.id == second))  # a tally of the same name: no wait
        other.commit()

        def skip_the_first() -> None:
            other.execute(skipped.where(units.c.id == first))
            other.commit()

        late = threading.Thread(target=skip_the_first)
        late.start()
        one.commit()
        late.join(timeout=60)
        assert not late.is_alive()
    assert manifest.tallies.recount() == {}
    assert manifest.tallies.of_type("Patient", "patients").by_state[State.SKIPPED] == 1
    manifest.close()
    engine.dispose()


@pytest.mark.parametrize("table", [units, targets])
def test_no_later_change_of_the_schema_lost_a_trigger(
    manifest: Manifest, manifest_url: str, table: sa.Table
) -> None:
    """Alembic changes a SQLite table by copying it, and its triggers stay with the old one."""
    engine = sa.create_engine(manifest_url.replace("postgresql:", "postgresql+psycopg:"))
    asked = (
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
        if engine.dialect.name == "sqlite"
        else "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"
    )
    with engine.connect() as connection:
        names = {row[0] for row in connection.execute(sa.text(asked)) if row[1] == table.name}
    assert {f"tallies_{table.name}_{each}" for each in ("new", "changed", "gone")} <= names
    engine.dispose()
