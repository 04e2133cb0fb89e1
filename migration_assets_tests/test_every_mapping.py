"""What is true of every mapping, of this package or yet to be written.

Belongs here: claims that need no word about the type. A new mapping file adds no test code: run
``pytest --update-golden`` once, and read the golden file it writes.
"""

import ast
import copy
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import references_in
from migration_assets.fhir.validation import problems
from migration_assets.mapping import Mapping, Quarantined, Related, Resource, Review, Skip
from migration_assets.mappings import discover
from migration_assets.profiling.evidence import traces

_GOLDEN = Path(__file__).parent / "golden"
_FOUND = discover()

every_mapping = pytest.mark.parametrize("mapping", _FOUND.values(), ids=_FOUND)


def _resources(mapping: Mapping[Any], row: dict[str, Any]) -> tuple[Resource, ...]:
    built = mapping.build(mapping.row.model_validate(row))
    if isinstance(built, Skip):
        return ()
    return built.resources if isinstance(built, Related) else (built,)


@every_mapping
def test_it_shows_what_it_does_with_invented_rows(mapping: Mapping[Any]) -> None:
    assert len(mapping.examples) >= 2
    assert mapping.quarantined_examples


@every_mapping
def test_every_example_becomes_resources_without_a_problem(mapping: Mapping[Any]) -> None:
    for row in mapping.examples:
        for resource in _resources(mapping, row):
            assert problems(resource) == ()


@every_mapping
def test_it_yields_its_own_type_first_and_only_the_types_it_names(mapping: Mapping[Any]) -> None:
    """The deliverer takes the first of a group for the main one."""
    yielded = set()
    for row in mapping.examples:
        kinds = [each["resourceType"] for each in _resources(mapping, row)]
        assert kinds[:1] == [mapping.resource_type]
        yielded.update(kinds)
    assert yielded == set(mapping.types)


@every_mapping
def test_the_same_row_gives_the_same_resource_and_is_left_alone(mapping: Mapping[Any]) -> None:
    """A mapping that remembers, or edits its input, would make a new version on every run."""
    for row in mapping.examples:
        before = copy.deepcopy(row)
        first = _resources(mapping, row)
        fingerprints = [fingerprint(each) for each in first]
        for resource in first:
            resource.clear()
        assert [fingerprint(each) for each in _resources(mapping, row)] == fingerprints
        assert row == before


@every_mapping
def test_the_source_key_is_kept_as_the_identifier(mapping: Mapping[Any]) -> None:
    """It is how the record is found again; the row model's first field is the key."""
    key = next(iter(mapping.row.model_fields))
    for row in mapping.examples:
        for resource in _resources(mapping, row):
            system = identifier_system(resource["resourceType"])
            values = [each["value"] for each in resource["identifier"] if each["system"] == system]
            assert values == [row[key]]


@every_mapping
def test_a_padded_or_empty_key_is_quarantined(mapping: Mapping[Any]) -> None:
    """Medplum never finds a padded value again: each run would make a duplicate (contract §2)."""
    key = next(iter(mapping.row.model_fields))
    for value, reason in ((" 1", "identifier-padded"), ("", "identifier-blank")):
        with pytest.raises(Quarantined) as error:
            _resources(mapping, {**mapping.examples[0], key: value})
        assert (error.value.reason, error.value.field) == (reason, key)


@every_mapping
def test_meta_says_only_which_stream_it_came_from(mapping: Mapping[Any]) -> None:
    """A run id or a time in meta would make a new version of everything on every run."""
    for row in mapping.examples:
        for resource in _resources(mapping, row):
            assert resource["meta"] == {"source": f"http://your-source-system.com/{mapping.stream}"}


@every_mapping
def test_what_it_refers_to_is_loaded_before_it(mapping: Mapping[Any]) -> None:
    before = {*mapping.after, *mapping.types}
    for row in mapping.examples:
        for resource in _resources(mapping, row):
            for path, target in references_in(resource):
                assert target.resource_type in before, path


@every_mapping
def test_a_row_it_cannot_map_is_quarantined_for_the_stated_reason(mapping: Mapping[Any]) -> None:
    for reason, row in mapping.quarantined_examples:
        model = mapping.row.model_validate(row)
        with pytest.raises(Quarantined) as error:
            mapping.build(model)
        assert str(error.value) == reason


@every_mapping
def test_it_still_makes_what_it_made(mapping: Mapping[Any], request: pytest.FixtureRequest) -> None:
    """The golden file shows in a review what a change does; ``version`` must change with it."""
    path = _GOLDEN / f"{mapping.resource_type}.json"
    made = [list(_resources(mapping, row)) for row in mapping.examples]
    text = json.dumps({"version": mapping.version, "examples": made}, indent=2, ensure_ascii=False)
    if request.config.getoption("--update-golden"):
        path.write_text(f"{text}\n", encoding="utf-8")
    assert path.is_file(), "No golden file: run pytest with --update-golden, then read it."
    assert path.read_text(encoding="utf-8") == f"{text}\n"


def test_no_golden_file_outlives_its_mapping() -> None:
    assert {each.stem for each in _GOLDEN.glob("*.json")} == set(_FOUND)


_IMPURE = {"datetime", "os", "pathlib", "random", "requests", "secrets", "socket", "time", "uuid"}


@every_mapping
def test_a_field_it_declares_left_out_is_not_read_and_says_why(mapping: Mapping[Any]) -> None:
    """The register would tell the clinical lead what is not true."""
    found = traces(mapping, mapping.examples, list(mapping.left_out))
    for path, (_kind, why) in mapping.left_out.items():
        assert why, path
        assert not found[path].is_read, path


@every_mapping
def test_it_is_approved_by_somebody(mapping: Mapping[Any]) -> None:
    assert mapping.owner or mapping.review is not Review.APPROVED


@every_mapping
def test_it_imports_no_other_mapping_and_nothing_impure(mapping: Mapping[Any]) -> None:
    """A file that can be read alone can be changed alone; one with a clock is never unchanged."""
    tree = ast.parse(Path(inspect.getfile(mapping.row)).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert not {each for each in imported if each.startswith("migration_assets.mappings")}
    assert not {each.partition(".")[0] for each in imported} & _IMPURE
