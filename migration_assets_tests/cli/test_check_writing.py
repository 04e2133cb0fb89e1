"""`migration check` tells what would keep rows from being written back, before the flip."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migration_assets.cli.check_writing import writing_warnings
from migration_assets.demo import clinic_server
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.legacy import Puller, load_description
from migration_assets.legacy.description.writing import LockField
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY, found

_DESCRIPTION = Path(clinic_server.__file__).with_name("clinic.yaml")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A clinic that the tests only read."""
    path = found(tmp_path_factory.mktemp("clinic"), patients=10)
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as running:
        yield running


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, None),
        ({"path": "api/{stream}/by-key/{id}"}, "write.path does not find"),
        ({"select": "patient_id"}, "write.path shows a row otherwise"),
        ({"if_match": LockField(field="version")}, "the row comes without"),
    ],
)
def test_what_the_description_says_of_writing_is_tried_by_reading(
    clinic: Clinic, changes: dict[str, Any], begins: str | None
) -> None:
    source = load_description(_DESCRIPTION)
    streams = tuple(
        each.model_copy(update={"write": each.write and each.write.model_copy(update=changes)})
        for each in source.streams
    )
    source = source.model_copy(update={"streams": streams})
    environ = {"MIGRATION_LEGACY_URL": clinic.base_url, "MIGRATION_LEGACY_API_KEY": API_KEY}
    puller = Puller(source, environ=environ)
    page = puller.first_page("patients")
    told = writing_warnings(puller, source.stream("patients"), page)
    assert [each.startswith(begins or "never") for each in told] == [True] * (begins is not None)
