"""Gates, repairs and undoing by cohort: each is asked of its own rows, and Medplum's stay alone."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from migration_assets.adoption import Adoption, Phase, read_adoption
from migration_assets.adoption.gates import Bounds, gate
from migration_assets.errors import Permanent
from migration_assets.legacy import load_description
from migration_assets.manifest import Selection
from migration_assets.manifest.cohorts import NOT_OURS
from migration_assets.manifest.dead_letters import Choice, Decision
from migration_assets.operations.repairing import Repair, repair
from migration_assets.operations.undoing import Desk, undo
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.switching.changing import carry_out, move
from migration_assets.switching.evidence import Witnesses, evidence
from migration_assets_tests.cohorts.houses import declared, family, founded, pull, under
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.reconciliation.test_references import ENCOUNTERS
from migration_assets_tests.scripted import ORGANIZATIONS, PATIENTS, START

BOUNDS = Bounds(days=7)
SOURCE = load_description(
    "name: x\nbase_url: http://127.0.0.1:9\nauth: {type: none}\n"
    "defaults: {path: '{stream}', select: rows, id: id, pager: {type: none}}\n"
    "streams: [{name: patients, cursor: {field: updated_at, param: since}}]\n"
)


def shut(clinic: Clinic, adoption: Adoption, name: str | None) -> list[str]:
    """What keeps a cohort of the patients in its phase; with None what is in no cohort."""
    witnesses = Witnesses(
        manifest=clinic.account,
        adoption=adoption,
        clock=clinic.clock,
        bounds=BOUNDS,
        fhir=lambda: clinic.client,
        puller=lambda: clinic.source,
        source=SOURCE,
    )
    standing = adoption.standing("Patient")
    cohort = None if name is None else standing.cohort(name)
    found = evidence(witnesses, PATIENTS, cohort)
    points = gate(standing.of(cohort).phase, "Patient", found, BOUNDS)
    return [each.said for each in points if not each.holds and "window" not in each.said]


def test_the_gate_of_a_cohort_is_asked_of_its_own_rows(on_each: Clinic) -> None:
    clinic, adoption = on_each, declared()
    founded(clinic, adoption)
    clinic.clock.now += timedelta(minutes=20)
    assert shut(clinic, adoption, "north") == ["Patient was never compared as a whole"]
    clinic.compare(cohort=Cohort(organization="O2"))
    assert len(shut(clinic, adoption, "north")) == 1
    clinic.compare(cohort=Cohort(organization="O1"))
    assert shut(clinic, adoption, "north") == []
    clinic.delete("PS")
    clinic.compare(cohort=Cohort(organization="O2"))
    assert shut(clinic, adoption, "north") == []
    assert any("1 finding" in each for each in shut(clinic, adoption, "south"))
    clinic.source.rows["patients"].clear()
    clinic.source.put("patients", "PX", organization="O2", at=60)
    under(clinic, adoption)  # landed, and not delivered
    assert shut(clinic, adoption, "north") == []
    assert any("1 pending" in each for each in shut(clinic, adoption, "south"))
    clinic.source.put("patients", "PY", organization=["O1"], at=60)
    pull(clinic, adoption)
    (unknown,) = shut(clinic, adoption, "north")
    assert "1 row may be in any cohort" in unknown


def test_a_rehearsed_cohort_leaves_once_its_own_exceptions_are_accepted(clinic: Clinic) -> None:
    adoption = declared(north="rehearse")
    founded(clinic, adoption)
    assert shut(clinic, adoption, "north") == []
    for key, house in (("PN", "O1"), ("PS", "O2")):
        clinic.account.cohorts.note(
            {
                clinic.account.cohorts.numbers("patients", [key])[key]: (
                    "north" if house == "O1" else "south"
                )
            },
            adoption.standing("Patient").declaration,
        )
        clinic.source.put("patients", key, organization=house, family={"not": "a name"}, at=60)
    pull(clinic, adoption)
    (said,) = shut(clinic, adoption, "north")
    assert "1 quarantined" in said
    accepted = Decision(by="x", choice=Choice.ACCEPT, approver="y")
    clinic.account.decisions.assign(Selection(keys=("PS",)), accepted)
    assert len(shut(clinic, adoption, "north")) == 1
    clinic.account.decisions.assign(Selection(keys=("PN",)), accepted)
    assert shut(clinic, adoption, "north") == []


def test_an_edit_in_the_legacy_system_shuts_the_gate_of_the_cohort_it_is_of(
    clinic: Clinic,
) -> None:
    adoption = declared(north="write", south="write")
    founded(clinic, declared())
    for name in ("north", "south"):
        numbers = clinic.account.switching.begin(
            {"Patient": "read"}, "write", by="x", evidence={}, cohort=name
        )
        clinic.account.switching.applied(numbers)
    clinic.clock.now += timedelta(days=8)
    assert shut(clinic, adoption, "north") == []
    seconds = int((clinic.clock.now - timedelta(days=1) - START).total_seconds())
    clinic.source.put("patients", "PS", organization="O2", family="Edited", at=seconds)
    assert shut(clinic, adoption, "north") == []
    assert "1 row edited" in shut(clinic, adoption, "south")[0]


def test_a_cohort_that_is_moved_is_noted_as_it_is_and_recorded_by_its_name(
    clinic: Clinic, tmp_path: Path
) -> None:
    founded(clinic, declared())
    text = '[Patient]\nphase = "read"\n[Patient.cohorts.old]\nuntil = 2026-01-02\nphase = "read"\n'
    path = tmp_path / "adoption.toml"
    path.write_text(text, encoding="utf-8")
    standing = read_adoption(text).standing("Patient")
    known = evidence(
        Witnesses(
            manifest=clinic.account,
            adoption=read_adoption(text),
            clock=clinic.clock,
            bounds=BOUNDS,
        ),
        PATIENTS,
        standing.cohort("old"),
    )
    asked = move(PATIENTS, standing, Phase.WRITE, known, BOUNDS, standing.cohort("old"))
    carry_out(clinic.account, path, asked, by="x", forced=True, reason="y")
    assert path.read_text() == text.replace('02\nphase = "read"', '02\nphase = "write"')
    counts = clinic.account.cohorts.balances("patients", standing.declaration)
    assert {name: each.eligible for name, each in counts.items()} == {"old": 3}
    group = replace(ENCOUNTERS, related=("ClinicalImpression",))
    alone = text.replace("Patient", "Encounter")
    path.write_text(alone, encoding="utf-8")
    of_one = read_adoption(alone).standing("Encounter")
    asked = move(group, of_one, Phase.WRITE, known, BOUNDS, of_one.cohort("old"))
    with pytest.raises(Permanent, match="move together"):
        carry_out(clinic.account, path, asked, by="x", forced=True, reason="y")
    assert path.read_text() == alone


def test_nothing_is_repaired_and_nothing_undone_of_what_medplum_owns(clinic: Clinic) -> None:
    """People deleted it there, or edited what a run of ours wrote: it is theirs by now."""
    founded(clinic, declared())
    wrote = clinic.account.history.latest_runs(1)
    adoption = declared(north="write")
    clinic.delete("PN")
    clinic.delete("PS")
    found = clinic.compare()
    clinic.source.rows["patients"].clear()
    run = under(clinic, adoption)
    done = repair(run, PATIENTS, found.evidence.id, Repair.MISSING, act=True)
    assert (done.done, dict(done.left)) == (1, {NOT_OURS: 1})
    held = {each["identifier"][0]["value"] for each in clinic.client.search("Patient", {})}
    assert held == {"PS", "P0"}
    desk = Desk(
        manifest=clinic.account,
        fhir=clinic.client,
        mappings={each.resource_type: each for each in (ORGANIZATIONS, PATIENTS, ENCOUNTERS)},
        adoption=adoption,
        deadline_seconds=9,
    )
    refused = undo(desk, wrote).refused
    assert refused["Patient", NOT_OURS].keys == ["PN"]
    assert refused["Encounter", NOT_OURS].keys == ["VN"]
    assert family(clinic, "P0") == "Doe"
