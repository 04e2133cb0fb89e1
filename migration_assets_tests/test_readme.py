"""The README is tested: what it names exists, and what exists it names."""

import re
from pathlib import Path
from typing import Any

import pytest

from migration_assets.adoption import Phase, read_adoption
from migration_assets.legacy import load_description
from migration_assets.manifest import State
from migration_assets.mapping import Mapping
from migration_assets.mappings import discover

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, language
    return re.sub(r"^   ", "", found[1], flags=re.MULTILINE) if language == "yaml" else found[1]


@pytest.mark.parametrize("mapping", discover().values(), ids=discover())
def test_every_mapping_is_in_the_table_with_its_stream(mapping: Mapping[Any]) -> None:
    line = next(
        line for line in README.splitlines() if line.startswith(f"| {mapping.resource_type}")
    )
    assert mapping.stream in line
    assert all(each in line for each in mapping.types)


def test_every_make_target_the_readme_names_exists_and_the_main_ones_are_named() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named <= targets
    assert {"demo", "demo-reset", "test", "check", "bench", "ui"} <= named


def test_the_description_it_shows_loads_as_it_stands() -> None:
    source = load_description(_block("yaml"))
    assert source.stream("patients").id == ("patient_id",)
    assert source.stream("encounters").cursor is not None


def test_the_adoption_it_shows_is_understood() -> None:
    adoption = read_adoption(_block("toml"))
    assert adoption.standing("Patient").may_deliver
    for phase in Phase:
        assert f"`{phase}`" in README


def test_the_law_it_states_names_every_state() -> None:
    law = next(line for line in README.splitlines() if line.strip().startswith("eligible ="))
    assert {each.value for each in State} == set(re.findall(r"[a-z]+", law)) - {"eligible"}
