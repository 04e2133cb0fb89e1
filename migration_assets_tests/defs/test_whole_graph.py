"""The whole graph in one golden file: what a change adds to it or takes away is seen in review."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.defs.pools import pool_name
from migration_assets.legacy import load_description
from migration_assets.mappings import discover
from migration_assets.settings import Settings

GOLDEN = Path(__file__).parent / "whole_graph.json"
NOTHING_SET = Settings.model_validate({})


def _graph(made: dg.Definitions) -> dict[str, Any]:
    repository = made.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {
            key.to_user_string(): {
                "after": sorted(each.to_user_string() for each in graph.get(key).parent_keys),
                "group": graph.get(key).group_name,
                "kinds": sorted(graph.get(key).kinds),
                "owners": sorted(graph.get(key).owners),
                "pools": sorted(graph.get(key).pools or ()),
                "external": graph.get(key).is_external,
                "partitions": _partitions(graph.get(key).partitions_def),
                "backfill": str(graph.get(key).backfill_policy),
            }
            for key in sorted(graph.get_all_asset_keys())
        },
        "checks": sorted(each.to_user_string() for each in graph.asset_check_keys),
        "jobs": {
            job.name: {name: job.tags[name] for name in sorted(job.tags)}
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "schedules": {
            each.name: {"cron": each.cron_schedule, "job": each.job_name}
            for each in sorted(repository.schedule_defs, key=lambda each: each.name)
        },
        "sensors": {
            each.name: each.minimum_interval_seconds
            for each in sorted(repository.sensor_defs, key=lambda each: each.name)
        },
    }


def _partitions(found: Any) -> str:
    return f"{type(found).__name__} from {found.start:%Y-%m-%d}" if found else "none"


def test_the_graph_is_what_the_golden_file_says(request: pytest.FixtureRequest) -> None:
    """An asset that is renamed loses its history in Dagster; a job, its runs."""
    graph = _graph(build_definitions(settings=NOTHING_SET, connections=Connections(NOTHING_SET)))
    text = json.dumps(graph, indent=1, sort_keys=True) + "\n"
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.exists(), "no golden file: run make golden, look at it, commit it"
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == graph


def test_every_run_that_a_job_starts_ends_by_itself() -> None:
    """One orphaned run would block polling for ever; manual ones end by the instance's limit."""
    made = build_definitions(settings=NOTHING_SET, connections=Connections(NOTHING_SET))
    jobs = [each for each in made.get_repository_def().get_all_jobs() if each.name[:2] != "__"]
    assert len(jobs) >= 4
    for job in jobs:
        assert int(job.tags["dagster/max_runtime"]) > 0, job.name


def test_what_a_person_reads_of_an_asset_is_there() -> None:
    made = build_definitions(settings=NOTHING_SET, connections=Connections(NOTHING_SET))
    for spec in made.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert str(spec.group_name).startswith("step_"), spec.key
        assert spec.tags, spec.key


@pytest.mark.parametrize("url", [None, "https://git.example/clinic/blob/main/"])
def test_the_code_link_leads_to_the_mapping_on_this_machine_and_in_the_repository(
    url: str | None,
) -> None:
    """In an installed package too: below the package the repository has the same places."""
    settings = Settings.model_validate({"MIGRATION_CODE_URL": url} if url else {})
    made = build_definitions(settings=settings, connections=Connections(settings))
    spec = made.resolve_assets_def(dg.AssetKey(["medplum", "Patient"])).specs_by_key
    found = spec[dg.AssetKey(["medplum", "Patient"])].metadata["dagster/code_references"]
    local, *remote = found.code_references
    lines = Path(local.file_path).read_text(encoding="utf-8").splitlines()
    build = discover()["Patient"].build
    assert f"def {build.__name__}" in lines[local.line_number - 1]
    if url is None:
        assert remote == []
    else:
        assert remote[0].url.startswith(
            "https://git.example/clinic/blob/main/migration_assets/mappings/patient.py#L"
        )


def test_a_pool_is_one_credentials_and_a_source_that_cannot_be_read_does_not_stop_loading(
    tmp_path: Path,
) -> None:
    assert pool_name(Connections(NOTHING_SET)) == "legacy_api"
    broken = Settings.model_validate({"MIGRATION_SOURCE": tmp_path / "missing.yaml"})
    assert pool_name(Connections(broken)) == "legacy_api"
    file = tmp_path / "source.yaml"
    described = (
        "{name: a.clinic, base_url: 'https://x.example', limits: [{requests: 9, per_seconds: 1}],"
        " budget: shared-key, streams: [{name: s, path: s, id: id}]}"
    )
    assert load_description(described).budget
    file.write_text(described)
    named = Settings.model_validate({"MIGRATION_SOURCE": file})
    assert pool_name(Connections(named)) == "legacy_api_shared_key"
