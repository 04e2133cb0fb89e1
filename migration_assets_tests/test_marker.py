"""The marker on everything migrated: content like any other, and so never a version too many."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from migration_assets.connections import mappings_of
from migration_assets.errors import Permanent
from migration_assets.settings import Settings, read_settings
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.reconciliation.conftest import clinic, sandbox
from migration_assets_tests.scripted import PATIENTS

__all__ = ["clinic", "sandbox"]
MARKER = ("https://clinic.example/tags", "migrated")
MARKED = replace(PATIENTS, marker=MARKER)


def _versions(clinic: Clinic) -> Iterator[tuple[str, str, Any]]:
    for key in ("P0", "P1"):
        held = clinic.held(key)
        yield key, held["meta"]["versionId"], held["meta"].get("tag")


def test_a_constant_marker_makes_no_version_and_another_setting_makes_exactly_one(
    clinic: Clinic,
) -> None:
    """What changes of the setting cost: each resource once more, when its row is looked at."""
    seen = []
    tag = [{"system": MARKER[0], "code": MARKER[1]}]
    for mapping in (PATIENTS, PATIENTS, MARKED, MARKED, PATIENTS):
        clinic.mappings = (mapping,)
        clinic.people(2)
        seen.append(list(_versions(clinic)))
        assert clinic.compare(mapping, deep=True).agrees
    plain, again, marked, marked_again, taken_off = seen
    assert plain == again
    assert marked == marked_again
    assert [each[2] for each in marked] == [tag, tag]
    assert [each[2] for each in taken_off] == [None, None]
    versions = {each[1] for part in (plain, marked, taken_off) for each in part}
    assert len(versions) == 6
    assert len(clinic.client.search("Patient", {"_tag": "|".join(MARKER)})) == 0


def test_a_comparison_under_another_setting_takes_nothing_for_changed(clinic: Clinic) -> None:
    """Rows not looked at since stay without the tag; that is no drift."""
    clinic.mappings = (PATIENTS,)
    clinic.people(2)
    assert clinic.compare(MARKED, deep=True).agrees


def test_the_setting_reaches_every_mapping_and_a_slip_in_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = mappings_of(Settings(MIGRATION_MARKER="|".join(MARKER)))
    assert {each.marker for each in found.values()} == {MARKER}
    assert {each.marker for each in mappings_of(Settings()).values()} == {None}
    for slip in ("migrated", "https://x.example|", "https://x.example|a|b", "x y|z"):
        monkeypatch.setenv("MIGRATION_MARKER", slip)
        with pytest.raises(Permanent, match=r"MIGRATION_MARKER.*system\|code"):
            read_settings()
