"""The benchmarks run, at a tiny scale: one that rots measures nothing on the day it is needed.

Only points and requests are asserted, which no machine changes.
"""

import json

import pytest

from migration_assets_tests.bench import big_page, on_servers, polling, scratch
from migration_assets_tests.bench.__main__ import BENCHMARKS, OUT, main
from migration_assets_tests.bench.server import sandbox_server

TINY = 0.002

pytestmark = pytest.mark.sandbox


def figures() -> dict[str, float]:
    kept: dict[str, float] = json.loads(OUT.read_text())
    return kept


def test_a_resource_costs_its_price_and_a_share_of_a_search() -> None:
    """At scale 1 the share is a five-hundredth, at this one a tenth."""
    main(["points"], TINY)
    search = 20 / on_servers.sandbox_plan(TINY).resources
    most = {
        "points_per_new_no_references": 100 + search,
        "points_per_new_three_references_exclusive": 100 + search,
        "points_per_new_three_references_shared": 140 + search,
        "points_per_new_three_references_looked_up": 100 + 4 * search,
        "points_per_changed": 100,
        "points_per_unchanged": 0,
    }
    assert {each: figures()[each] for each in most if figures()[each] > most[each]} == {}


def test_a_limited_quota_loses_no_entry() -> None:
    main(["quota"], TINY)
    assert figures()["quota_entries_lost"] == 0
    assert 0 < figures()["quota_used_of_available"] <= 1


def test_every_loader_gets_its_resources_there() -> None:
    main(["loaders"], TINY)
    assert {
        "throughput_vs_bare_loader",
        "throughput_vs_conditional_put_loop",
        "throughput_vs_25_per_bundle_post",
        "throughput_vs_bare_loader_at_sandbox_speed",
    } <= figures().keys()


def test_a_real_server_is_measured_when_the_environment_names_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scratch, "_SETTLE_SECONDS", 0.0)
    with sandbox_server() as real:
        assert real.sandbox is not None
        monkeypatch.setenv("MEDPLUM_BASE_URL", real.base_url)
        monkeypatch.setenv("MEDPLUM_CLIENT_ID", real.client_id)
        monkeypatch.setenv("MEDPLUM_CLIENT_SECRET", real.secret.get_secret_value())
        main(["points"], TINY)
        assert figures()["real_points_per_changed"] == 100
        stats = real.sandbox.stats()
        assert stats["resources"] == {}
        assert stats["deletes"] > 0


def test_an_idle_stream_is_asked_once() -> None:
    requests, streams = polling.idle_poll(10)
    assert requests == streams


def test_a_walk_misses_no_row_and_asks_little_more_than_there_are_pages() -> None:
    assert polling.walk(450) == (5, 450)


def test_the_measurements_in_processes_of_their_own_still_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(big_page, "BODY_BYTES", 1 << 20)
    main(["landing", "big_page", "throughput"], TINY)
    assert {
        "landing_cpu_us_per_row",
        "memory_of_64_mib_page",
        "rows_per_second_per_core",
        "memory_growth_mb_million_rows",
    } <= figures().keys()


def test_a_report_of_a_filled_account_is_measured() -> None:
    main(["report"], TINY)
    assert {"report_seconds_100k_units", "report_cpu_vs_reading_once"} <= figures().keys()


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no_such_thing"):
        main(["no_such_thing"], TINY)
    assert set(BENCHMARKS) >= {"landing", "polling", "points", "quota", "loaders"}
