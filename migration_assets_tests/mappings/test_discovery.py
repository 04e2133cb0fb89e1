"""Discovery: a new type is one file, and a mistake in one is named."""

from pathlib import Path

import pytest

from migration_assets.errors import Permanent
from migration_assets.mappings import discover

_FILE = '''
"""Legacy {stream} become {kind}."""

from migration_assets.fhir.elements import present, resource
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.references import reference
from migration_assets.mapping import Mapping, Resource, Row, Step


class AllergyRow(Row):
    allergy_id: str
    patient_id: str | None = None
    text: str


def build(row: AllergyRow) -> Resource:
    return resource(
        "{kind}",
        "{stream}",
        identifier=[identifier("{kind}", row.allergy_id)],
        code=present(text=row.text),
        patient=reference("Patient", row.patient_id, "patient_id"),
    )


MAPPING = Mapping(
    stream="{stream}",
    row=AllergyRow,
    resource_type="{kind}",
    build=build,
    version="1.0.0",
    step=Step.SNAPSHOT,
    after={after},
)
'''


def _write(
    folder: Path,
    kind: str = "AllergyIntolerance",
    stream: str = "allergies",
    after: tuple[str, ...] = ("Patient",),
) -> Path:
    path = folder / f"{kind.lower()}.py"
    path.write_text(_FILE.format(kind=kind, stream=stream, after=after))
    return path


def test_types_come_after_what_they_refer_to_and_else_as_the_guide_says() -> None:
    assert list(discover()) == [
        "Practitioner",
        "Organization",
        "PractitionerRole",
        "Patient",
        "Condition",
        "MedicationRequest",
        "Encounter",
        "Observation",
        "DiagnosticReport",
    ]


def test_another_type_is_one_file(tmp_path: Path) -> None:
    _write(tmp_path)
    found = discover(tmp_path)
    assert list(found)[4:6] == ["AllergyIntolerance", "Condition"]
    mapping = found["AllergyIntolerance"]
    row = mapping.row.model_validate({"allergy_id": "A1", "patient_id": "P001", "text": "Nuts"})
    assert mapping.build(row) == {
        "resourceType": "AllergyIntolerance",
        "meta": {"source": "http://your-source-system.com/allergies"},
        "identifier": [
            {"system": "http://your-source-system.com/allergyIntoleranceId", "value": "A1"}
        ],
        "code": {"text": "Nuts"},
        "patient": {"reference": "Patient?identifier=http://your-source-system.com/patientId|P001"},
    }


def test_asking_twice_gives_the_same_mapping(tmp_path: Path) -> None:
    """A second row class of one name would not be the one that rows were read with."""
    _write(tmp_path)
    assert discover(tmp_path)["AllergyIntolerance"] is discover(tmp_path)["AllergyIntolerance"]


def test_files_of_one_name_in_two_folders_are_two_mappings(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = _write(tmp_path / name, kind="Flag" if name == "one" else "Goal", stream=name)
        path.rename(path.with_name("extra.py"))
    assert {"Flag", "Goal"} <= set(discover(tmp_path / "one", tmp_path / "two"))


def test_a_file_with_an_underscore_is_not_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "_shared.py").write_text("raise RuntimeError")
    assert list(discover(tmp_path)) == list(discover())


def _complaint(*folders: Path) -> str:
    with pytest.raises(Permanent) as error:
        discover(*folders)
    return str(error.value)


_BY_BOT = """
from migration_assets.mapping import Bot, Mapping, Row, Step

MAPPING = Mapping(
    stream="allergies", row=Row, resource_type="AllergyIntolerance", version="1",
    step=Step.SNAPSHOT, {how},
)
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("examples=()", "neither"),
        ("build=lambda row: {}, transformer=Bot(id='1')", "both"),
        ("transformer=Bot()", "by id or by identifier"),
        ("transformer=Bot(id='1', identifier='urn:x|y')", "by id or by identifier"),
        ("transformer=Bot(identifier='no-system')", "by id or by identifier"),
        ("transformer=Bot(identifier='urn:x|')", "by id or by identifier"),
        ("transformer=Bot(id='1'), reverse=lambda resource, row: {}", "`reverse`"),
    ],
)
def test_who_says_what_a_row_becomes_is_one_and_can_be_found(
    tmp_path: Path, how: str, told: str
) -> None:
    (tmp_path / "allergyintolerance.py").write_text(_BY_BOT.format(how=how))
    assert told in _complaint(tmp_path)


def test_a_mapping_may_leave_it_to_a_bot(tmp_path: Path) -> None:
    sound = _BY_BOT.format(how="transformer=Bot(identifier='urn:x|y')")
    (tmp_path / "allergyintolerance.py").write_text(sound)
    mapping = discover(tmp_path)["AllergyIntolerance"]
    assert mapping.transformer is not None
    assert mapping.transformer.name == "urn:x|y"


def test_a_file_without_a_mapping_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.py"
    path.write_text("MAPPINGS = []\n")
    assert str(path) in _complaint(tmp_path)


def test_a_file_that_breaks_while_loading_is_loaded_anew_the_next_time(tmp_path: Path) -> None:
    """A half-made module left behind would hide the mistake behind another one."""
    path = tmp_path / "broken.py"
    path.write_text("raise LookupError('why')\n")
    for _ in range(2):
        with pytest.raises(LookupError, match="why"):
            discover(tmp_path)


def test_two_mappings_for_one_stream_are_named(tmp_path: Path) -> None:
    """Both would settle the same units, each with its own resource."""
    path = _write(tmp_path, stream="patients")
    told = _complaint(tmp_path)
    assert str(path) in told
    assert "patient.py" in told
    assert "stream patients" in told


@pytest.mark.parametrize("kind", ["Patient", "ClinicalImpression"])
def test_two_mappings_for_one_type_are_named(tmp_path: Path, kind: str) -> None:
    """Also a type that another mapping only yields in a group."""
    path = _write(tmp_path, kind=kind)
    told = _complaint(tmp_path)
    assert str(path) in told
    assert f"type {kind}" in told


def test_a_dependency_nobody_makes_is_named(tmp_path: Path) -> None:
    _write(tmp_path, after=("Patient", "Substance"))
    told = _complaint(tmp_path)
    assert "AllergyIntolerance" in told
    assert "Substance" in told


def test_a_member_of_a_group_can_be_depended_on(tmp_path: Path) -> None:
    _write(tmp_path, after=("ClinicalImpression",))
    assert list(discover(tmp_path)).index("AllergyIntolerance") > list(discover(tmp_path)).index(
        "Encounter"
    )


def test_a_circle_is_named_and_nobody_who_only_waits_for_it(tmp_path: Path) -> None:
    _write(tmp_path, kind="Goal", stream="goals", after=("Patient", "CarePlan"))
    _write(tmp_path, kind="CarePlan", stream="plans", after=("Goal",))
    _write(tmp_path, kind="AuditEvent", stream="audits", after=("Goal",))
    told = _complaint(tmp_path)
    assert "Goal" in told
    assert "CarePlan" in told
    assert "AuditEvent" not in told


def test_a_type_that_comes_after_itself_is_a_circle(tmp_path: Path) -> None:
    _write(tmp_path, kind="Goal", stream="goals", after=("Goal",))
    assert "Goal" in _complaint(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in _complaint(tmp_path / "gone")


def test_a_file_that_is_not_loadable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path)
    monkeypatch.setattr("importlib.util.spec_from_file_location", lambda *_: None)
    assert "allergyintolerance.py" in _complaint(tmp_path)
