"""A clinic whose patients are to be cut over, and the verbs of a runbook's tests.

Belongs here: the desk over a scripted source and a real sandbox, time that is moved by hand. Does
not belong here: claims.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from migration_assets.adoption import Adoption, Phase, read_adoption
from migration_assets.adoption.gates import Bounds
from migration_assets.legacy import load_description
from migration_assets.manifest.cutovers import Cutover
from migration_assets.mapping import Resource
from migration_assets.run import Run
from migration_assets.switching.cutover.desk import Desk, Nothing, TakesBack, Word
from migration_assets.switching.cutover.plan import CutoverStep, Plan, Seen
from migration_assets.switching.cutover.runbook import abort, advance, back, begin, stands
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import PATIENTS, START

SOURCE = load_description(
    "{name: clinic, base_url: 'https://clinic.example', streams: ["
    "{name: patients, path: p, id: id, cursor: {field: at, format: iso, param: since}},"
    "{name: organizations, path: o, id: id, cursor: {field: at, format: iso, param: since}}]}"
)
PLAN = Plan(owner="the lead", polls=3, quiet_seconds=600, observe_seconds=3600)
ME = Word(by="a person")
SIGNED = replace(ME, approved_by="Dr. Who")


@dataclass
class Runbook:
    """One cutover of the patients, advanced by hand."""

    clinic: Clinic
    folder: Path
    takes_back: TakesBack = field(default_factory=Nothing)
    in_inbox: int = 0

    def __post_init__(self) -> None:
        self.path = self.folder / "adoption.toml"
        self.path.write_text('Organization = "read"\nPatient = "read"\n', encoding="utf-8")
        self.clinic.source.put("organizations", "O1", at=0)
        for key in ("P1", "P2"):
            self.clinic.source.put("patients", key, family="Doe", organization="O1")
        self.clinic.source.sightings["patients"] = self._asked
        self.clinic.migrate()

    def _asked(self, key: str) -> Any:
        from migration_assets.legacy import Presence, Sighting  # noqa: PLC0415 - only here

        rows = [each for each in self.clinic.source.rows["patients"] if each.key == key]
        return Sighting(Presence.PRESENT, rows[0]) if rows else Sighting(Presence.GONE)

    # -- time and people ------------------------------------------------------------------------

    def later(self, **time: float) -> None:
        """So much time passes, here and at the source."""
        self.clinic.clock.now += timedelta(**time)
        self.clinic.source.now += timedelta(**time)

    def edited_in_legacy(self, key: str, family: str) -> None:
        """Somebody edits a patient in the legacy system, now."""
        self.later(seconds=5)
        at = int((self.clinic.source.now - START).total_seconds())
        self.clinic.source.put("patients", key, at=at, family=family, organization="O1")
        self.later(seconds=5)

    def edited_in_medplum(self, key: str, family: str) -> None:
        """Somebody edits a patient in Medplum."""
        self.clinic.put({**self.clinic.held(key), "name": [{"family": family}]})

    def family(self, key: str) -> str:
        """The family that Medplum holds."""
        return str(self.clinic.held(key)["name"][0]["family"])

    @property
    def phase(self) -> Phase:
        """The patients' phase in adoption.toml."""
        return self.adoption().standing("Patient").phase

    def adoption(self) -> Adoption:
        """What adoption.toml says now."""
        return read_adoption(self.path.read_text(encoding="utf-8"))

    # -- the runbook ----------------------------------------------------------------------------

    def desk(self, **parts: Any) -> Desk:
        """A new process's desk."""
        account = self.clinic.account
        number = account.start_run("test", pipeline_version="0")
        whole: dict[str, Any] = {
            "run": Run(
                id=number,
                label=f"run-{number}",
                manifest=account,
                puller=self.clinic.source,
                adoption=self.adoption(),
                fhir=self.clinic.client,
                deadline_seconds=30,
            ),
            "source": SOURCE,
            "clock": self.clinic.clock,
            "adoption": self.adoption,
            "adoption_path": self.path,
            "bounds": Bounds(days=0),
            "mappings": self.clinic.mappings,
            "flags_out": self.folder / "flags.json",
            "takes_back": self.takes_back,
            "inbox_waiting": lambda _streams: self.in_inbox,
            "report": lambda _mapping, _cohort: {"page": "report.html", "sha256": "0" * 64},
        }
        return Desk(**(whole | parts))

    def begin(self, plan: Plan = PLAN) -> Cutover:
        """Begin one."""
        return begin(self.desk(), PATIENTS, plan, by="a person")

    @property
    def cutover(self) -> Cutover:
        """The last one."""
        return self.clinic.account.cutovers.latest("Patient")[0]

    def advance(self, word: Word = ME, **parts: Any) -> dict[CutoverStep, Seen]:
        """Advance it as far as it goes; by step what was seen."""
        desk = self.desk(**parts)
        return dict(advance(desk, PATIENTS, self.cutover, word))

    def abort(self, word: Word) -> None:
        """Abort it."""
        abort(self.desk(), PATIENTS, self.cutover, word)

    def back(self, word: Word, **parts: Any) -> Seen:
        """Roll it back."""
        return back(self.desk(**parts), PATIENTS, self.cutover, word)

    def due(self) -> CutoverStep | None:
        """The step it stands at."""
        return stands(self.clinic.account, self.cutover).due

    def freeze(self) -> dict[CutoverStep, Seen]:
        """Poll until the freeze is proved; what came of the last advance."""
        for _poll in range(PLAN.polls - 1):
            self.advance()
            self.later(seconds=300)
        return self.advance()

    def flip(self) -> dict[CutoverStep, Seen]:
        """From the beginning over the flip."""
        self.begin()
        self.freeze()
        self.later(seconds=1)
        return self.advance(SIGNED)


@dataclass
class Hand:
    """Takes back by hand, as the test says."""

    left: int = 0
    calls: int = 0
    bad: int = 0

    def takes(self, mapping: Any) -> bool:
        """Yes."""
        return True

    def take_back(self, mapping: Any) -> Mapping[str, int]:
        """Count."""
        self.calls += 1
        return {"written": 1}

    def open(self, part: Any) -> int:
        """As the test says."""
        return self.left

    def refused(self, part: Any) -> int:
        """As the test says."""
        return self.bad


def created(**content: Any) -> Resource:
    """A patient whom somebody registered in Medplum."""
    return {"resourceType": "Patient", "name": [{"family": "New"}], **content}
