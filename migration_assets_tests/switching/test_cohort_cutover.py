"""A cutover of one cohort: the other house is followed and delivered as if nothing happened."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from migration_assets.adoption import Phase
from migration_assets.errors import Permanent
from migration_assets.manifest.cutovers import Cutover
from migration_assets.manifest.write_back_ends import WriteBack
from migration_assets.manifest.write_backs import Seen
from migration_assets.operations.seeing_changes import flip_of
from migration_assets.switching.cutover.plan import Came, CutoverStep, Plan
from migration_assets.switching.cutover.runbook import begin
from migration_assets.switching.parts import Part
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import PATIENTS, START
from migration_assets_tests.switching.runbook import ME, PLAN, SIGNED, Hand, Runbook

REASON = replace(ME, reason="the new chart was slow")
HOUSES: dict[str, str | None] = {"PN": "O1", "PS": "O2", "P0": None}
ADOPTION = """
Organization = "read"
[Patient]
phase = "read"
[Patient.cohorts.north]
organization = "O1"
phase = "read"
[Patient.cohorts.south]
organization = "O2"
phase = "read"
"""


@dataclass
class Houses(Runbook):
    """A cutover of one house, of two; ``cohort`` None: of the patients of neither."""

    cohort: str | None = "north"

    def __post_init__(self) -> None:
        self.path = self.folder / "adoption.toml"
        self.path.write_text(ADOPTION, encoding="utf-8")
        for number in ("O1", "O2"):
            self.clinic.source.put("organizations", number, at=0)
        for key, house in HOUSES.items():
            self.clinic.source.put("patients", key, organization=house)
        self.clinic.source.sightings["patients"] = self._asked
        self.pulled()

    def pulled(self) -> None:
        """The sensor's pull: whatever changed, by the phases of now."""
        self.clinic.adoption = self.adoption()
        self.clinic.migrate()
        self.later(seconds=1)

    def edited_in_legacy(self, key: str, family: str) -> None:
        """Somebody edits a patient of a house in the legacy system, now."""
        self.later(seconds=5)
        at = int((self.clinic.source.now - START).total_seconds())
        house = HOUSES.get(key, "O2")
        self.clinic.source.put("patients", key, at=at, family=family, organization=house)
        self.later(seconds=5)

    @property
    def phase(self) -> Phase:
        """The cohort's phase in adoption.toml."""
        return self.phase_of(self.cohort)

    def phase_of(self, cohort: str | None) -> Phase:
        """A cohort's phase, or that of what is in none."""
        declared = self.adoption().standing("Patient")
        return declared.of(declared.cohort(cohort) if cohort else None).phase

    def begin(self, plan: Plan = PLAN) -> Cutover:
        """Begin one."""
        return begin(self.desk(), PATIENTS, plan, by="a person", cohort=self.cohort)

    @property
    def cutover(self) -> Cutover:
        """The cohort's last one."""
        known = self.clinic.account.cutovers.latest("Patient")
        return next(each for each in known if each.cohort == self.cohort)

    def told(self) -> dict[str, str]:
        """Where front ends write: by cohort, and for what is in none."""
        flags = json.loads((self.folder / "flags.json").read_text(encoding="utf-8"))
        patient = flags["types"]["Patient"]
        return {"": patient["write"]} | {
            name: each["write"] for name, each in patient["cohorts"].items()
        }


@pytest.fixture
def houses(clinic: Clinic, tmp_path: Path) -> Houses:
    return Houses(clinic, tmp_path)


def test_one_house_goes_through_its_whole_life_while_the_other_goes_on_being_followed(
    on_each: Clinic, tmp_path: Path
) -> None:
    houses = Houses(on_each, tmp_path)
    begun = houses.begin()
    assert begun.name == "Patient, cohort north"
    for number in range(PLAN.polls):
        houses.edited_in_legacy("PS", f"Busy{number}")
        houses.edited_in_legacy(f"PS{number}", "New")  # nobody knows the house before it lands
        went = houses.advance()
        assert houses.family("PS") == f"Busy{number}", "followed while the freeze is proved"
        houses.later(seconds=300)
    assert "signature is missing" in went[CutoverStep.VERIFY].said
    houses.edited_in_legacy("PS", "Unsigned")
    signed = houses.advance(SIGNED)
    assert [each.came for each in signed.values()] == [Came.DONE, Came.DONE, Came.WAITS]
    assert houses.told() == {"": "legacy", "north": "medplum", "south": "legacy"}
    houses.edited_in_medplum("PN", "Theirs")
    houses.edited_in_legacy("PS", "Later")
    houses.edited_in_legacy("PS9", "New")
    houses.pulled()
    houses.edited_in_legacy("PS", "Latest")
    houses.later(hours=1)
    ended = houses.advance()
    assert [ended[each].came for each in ended] == [Came.DONE, Came.DONE], ended
    assert (houses.phase, houses.phase_of("south"), houses.phase_of(None)) == (
        Phase.RETIRED, Phase.READ, Phase.READ,
    )  # fmt: skip
    assert (houses.family("PN"), houses.family("PS")) == ("Theirs", "Latest")
    changes = on_each.account.switching.changes("Patient")
    assert [(each.cohort, each.becomes, each.forced) for each in changes] == [
        ("north", "retired", False), ("north", "write", False),
    ]  # fmt: skip
    scopes = [dict(each.scope) for each in on_each.account.reconciliations.latest(limit=50)]
    assert {"organization": "O1"} in scopes
    assert {} not in scopes, "the other house was not compared"


@pytest.mark.parametrize(
    ("when", "landed"), [(CutoverStep.FREEZE, True), (CutoverStep.FLIP, False)]
)
def test_an_edit_in_this_house_breaks_its_freeze_whoever_lands_it(
    houses: Houses, when: CutoverStep, landed: bool
) -> None:
    houses.begin()
    if when is CutoverStep.FLIP:
        houses.freeze()
    else:
        houses.advance()
    houses.later(seconds=301)
    houses.edited_in_legacy("PN", "Late")
    if landed:
        houses.pulled()
    seen = houses.advance(SIGNED)[when]
    assert seen.came is (Came.BROKEN if when is CutoverStep.FLIP else Came.WAITS)
    assert seen.evidence.get("quiet", 0) == 0
    assert (houses.phase, houses.due()) == (Phase.READ, CutoverStep.FREEZE)
    houses.advance()
    assert houses.family("PN") == "Late"


def test_after_the_flip_an_edit_in_this_house_is_an_alarm_although_the_puller_took_it(
    houses: Houses,
) -> None:
    houses.flip()
    houses.later(minutes=30)
    houses.edited_in_legacy("PN", "Stray")
    houses.pulled()
    alarm = houses.advance()[CutoverStep.OBSERVE]
    assert alarm.came is Came.ALARM
    assert "--cohort north --rollback" in alarm.said
    assert houses.family("PN") == "Doe", "Medplum owns it"
    houses.later(hours=2)
    assert houses.advance()[CutoverStep.OBSERVE].came is Came.ALARM, "it does not go by itself"
    houses.later(seconds=1)
    houses.advance(replace(REASON, forced=True))
    houses.later(hours=2)
    assert houses.advance()[CutoverStep.RETIRE].came is Came.DONE


def test_one_house_rolls_back_and_the_other_which_is_flipped_too_stays_there(
    houses: Houses,
) -> None:
    south = Houses(houses.clinic, houses.folder, cohort="south")
    houses.begin()
    south.flip()
    with pytest.raises(Permanent, match="Nothing was flipped for Patient, cohort north"):
        houses.back(REASON)
    houses.freeze()
    houses.later(seconds=1)
    houses.advance(SIGNED)
    houses.later(minutes=1)
    assert houses.told() == {"": "legacy", "north": "medplum", "south": "medplum"}
    houses.edited_in_medplum("PS", "Theirs")
    houses.edited_in_legacy("PN", "Meanwhile")
    done = houses.back(REASON)
    assert (done.came, done.evidence["written_there"]) == (Came.DONE, 0), "not this house's edit"
    assert houses.told() == {"": "legacy", "north": "legacy", "south": "medplum"}
    assert (houses.phase, south.phase) == (Phase.READ, Phase.WRITE)
    assert (houses.cutover.outcome, south.cutover.ended_at) == ("rolled_back", None)
    houses.pulled()
    assert (houses.family("PN"), houses.family("PS")) == ("Meanwhile", "Theirs")
    south.later(hours=1)
    assert south.advance()[CutoverStep.RETIRE].came is Came.DONE


def test_what_was_written_in_the_house_that_was_first_is_seen_after_the_second_is_flipped(
    houses: Houses,
) -> None:
    """Else nothing of it would be written back, and a rollback would lose it."""
    switching = houses.clinic.account.switching
    for cohort, becomes in (("north", "write"), ("south", "write"), ("north", "read")):
        switching.applied(
            switching.begin({"Patient": ""}, becomes, by="a lead", evidence={}, cohort=cohort)
        )
        houses.later(hours=1)
        back = becomes == "read"
        flipped = switching.since("Patient", "write", "south" if back else "north")
        assert flip_of(houses.clinic.account, PATIENTS, None) == flipped


def test_an_edit_in_medplum_of_this_house_holds_its_rollback_and_its_front_ends_are_told_first(
    houses: Houses,
) -> None:
    class Late(Hand):
        """Somebody writes in Medplum until front ends are told."""

        def open(self, part: object) -> int:
            return int(self.calls > 1)

    houses.flip()
    houses.later(seconds=1)
    houses.edited_in_medplum("PN", "Kept")
    assert houses.back(REASON).evidence["written_there"] == 1
    houses.takes_back = Late()
    assert "front ends are told" in houses.back(REASON).said
    assert houses.told()["north"] == "legacy"
    assert houses.phase is Phase.WRITE, "the puller does not write yet"


def test_a_row_of_which_nobody_knows_the_house_keeps_it_from_being_flipped(
    houses: Houses,
) -> None:
    houses.clinic.source.put("patients", "P?", at=10_000_000, family=["not a name"])
    houses.pulled()
    houses.begin()
    held = houses.freeze()[CutoverStep.DRAIN]
    assert (held.came, held.evidence["cohort_unknown"]) == (Came.WAITS, 1)
    assert "cohort-unknown" in held.said
    assert (houses.advance(SIGNED)[CutoverStep.DRAIN].came, houses.phase) == (
        Came.WAITS, Phase.READ,
    )  # fmt: skip


def test_without_a_cohort_that_is_cut_over_which_is_in_none(houses: Houses) -> None:
    rest = Houses(houses.clinic, houses.folder, cohort=None)
    rest.begin()
    rest.edited_in_legacy("PN", "Busy")
    rest.freeze()
    rest.later(seconds=1)
    rest.advance(SIGNED)
    assert (rest.cutover.name, rest.phase) == ("Patient, in no cohort", Phase.WRITE)
    assert rest.told() == {"": "medplum", "north": "legacy", "south": "legacy"}
    assert rest.family("PN") == "Busy"


def test_other_rows_than_were_looked_at_are_not_handed_over(houses: Houses) -> None:
    with pytest.raises(Permanent, match="No cohort east"):
        replace(houses, cohort="east").begin()
    houses.begin()
    houses.freeze()
    text = houses.path.read_text(encoding="utf-8")
    houses.path.write_text(text.replace('"O1"', '"O2"', 1), encoding="utf-8")
    with pytest.raises(Permanent, match="Put the terms back"):
        houses.advance(SIGNED)
    houses.abort(REASON)
    assert (houses.phase, houses.cutover.outcome) == (Phase.READ, "aborted")


def test_what_the_other_house_owes_the_legacy_system_is_not_counted_here(
    on_each: Clinic, tmp_path: Path
) -> None:
    houses = Houses(on_each, tmp_path)
    account, standing = on_each.account, houses.adoption().standing("Patient")
    numbers = account.cohorts.numbers("patients", ["PN", "PS"])
    debts = [
        Seen(fhir_id=key, version_id="1", kind="change", unit_id=number)
        for key, number in numbers.items()
    ]
    account.write_backs.note("Patient", [*debts, Seen(fhir_id="?", version_id="1", kind="create")])
    for name, owes in (("north", 2), ("south", 2), (None, 1)):
        cohort = standing.cohort(name) if name else None
        part = Part(account, PATIENTS, standing, cohort)
        assert part.write_backs() == {WriteBack.OPEN: owes}, "whose a new one is nobody knows"
        assert part.landed_since(START) == 1
        assert part.landed_since(START, changed_since=on_each.source.now) == 0
