"""Links: what others were linked to may come under another id, and each stream is told once."""

from migration_assets.manifest import Manifest, Settlement, State, Target, Unit
from migration_assets_tests.manifest.rows import migrated, patient_token, row

P1 = patient_token("P1")


def _landed(manifest: Manifest, stream: str, key: str) -> Unit:
    manifest.land(stream, [row(key)], run_id=1, reopen=True)
    (unit,) = manifest.pending_units(stream)
    return unit


def _written(unit: Unit, name: str, fhir_id: str | None, **more: object) -> Settlement:
    target = Target("Patient", name, fhir_id, "v1", "f" * 32, **more)  # type: ignore[arg-type]
    return Settlement(
        unit_id=unit.id, revision=unit.revision, state=State.MIGRATED, targets=(target,)
    )


def _linked(manifest: Manifest, fhir_id: str) -> Unit:
    """A visit that is linked to a patient of somebody else's."""
    visit = _landed(manifest, "visits", "V1")
    made = Settlement(
        unit_id=visit.id,
        revision=1,
        state=State.MIGRATED,
        targets=(Target("Encounter", "Encounter|s|V1", "id-V1", "v1", "f" * 32),),
        borrowed=((P1, fhir_id),),
    )
    manifest.settle([made], run_id=1)
    return visit


def test_what_was_somebody_elses_has_moved_once_it_is_ours_under_another_id(
    manifest: Manifest,
) -> None:
    visit = _linked(manifest, "theirs")
    manifest.remapping.moves.note()
    assert manifest.remapping.moves.untold("visits") == [], "nothing of it is ours yet"
    manifest.settle([migrated(_landed(manifest, "patients", "P1"))], run_id=1)
    manifest.remapping.moves.note()
    assert manifest.remapping.moves.untold("visits") == [P1]
    manifest.remapping.moves.told("visits", [P1], [visit.id])
    (again,) = manifest.pending_units("visits")
    assert [(each.fhir_id, each.fingerprint) for each in again.targets] == [("id-V1", None)]
    manifest.remapping.moves.note()
    assert manifest.remapping.moves.untold("visits") == [], "told once"
    assert manifest.remapping.moves.untold("patients") == [P1], "and each stream for itself"


def test_what_became_ours_as_it_was_has_not_moved(manifest: Manifest) -> None:
    """The usual way: we adopt what the services wrote. All its dependants would go out again."""
    _linked(manifest, "id-P1")
    manifest.settle([migrated(_landed(manifest, "patients", "P1"))], run_id=1)
    manifest.remapping.moves.note()
    assert manifest.remapping.moves.untold("visits") == []


def test_ours_that_came_back_as_somebody_elses_has_moved(manifest: Manifest) -> None:
    """Deleted with its row; somebody wrote it anew; the row came back, and that one is ours now."""
    patient = _landed(manifest, "patients", "P1")
    manifest.settle([_written(patient, P1, "ours")], run_id=1)
    manifest.settle([_written(patient, P1, "ours", deleted=True)], run_id=2)
    manifest.intend([(patient.id, Target("Patient", P1))])
    manifest.remapping.moves.note()
    assert manifest.remapping.moves.untold("patients") == [], "where it will be is not known yet"
    manifest.settle([_written(patient, P1, "theirs")], run_id=3)
    manifest.settle([_written(patient, P1, "theirs")], run_id=4)
    manifest.remapping.moves.note()
    assert manifest.remapping.moves.untold("patients") == [P1]
    assert manifest.former_ids([P1]) == {}


def test_ours_that_came_back_under_its_id_has_not_moved(manifest: Manifest) -> None:
    patient = _landed(manifest, "patients", "P1")
    manifest.settle([_written(patient, P1, "ours")], run_id=1)
    manifest.settle([_written(patient, P1, None, deleted=True)], run_id=2)
    manifest.intend([(patient.id, Target("Patient", P1))])
    manifest.settle([_written(patient, P1, "ours")], run_id=3)
    manifest.remapping.moves.note()
    assert manifest.remapping.moves.untold("patients") == []


def test_a_unit_that_a_person_holds_stays_held_and_is_written_whole_later(
    manifest: Manifest,
) -> None:
    visit = _linked(manifest, "theirs")
    held = Settlement(unit_id=visit.id, revision=1, state=State.QUARANTINED, reason="x")
    manifest.settle([held], run_id=2)
    manifest.remapping.moves.told("visits", [P1], [visit.id])
    assert manifest.pending_units("visits") == []
    (unit,) = manifest.landed_units("visits", limit=1)
    assert unit.targets[0].fingerprint is None
