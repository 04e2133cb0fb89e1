"""A clinic of few patients, its Medplum, and people who write in both; processes that may die.

Belongs here: who writes where and when, what is remembered of it, and the law at the end. Does not
belong here: in which order things happen. The front end obeys the published flags: it writes to the
system that they name. A stray user of the legacy system obeys nothing.
"""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from migration_assets.adoption import Phase
from migration_assets.connections import Connections, mappings_of
from migration_assets.cutting_over import desk, plan_of
from migration_assets.demo.clinic_server import Clinic
from migration_assets.demo.front_end import FrontEnd, with_phone
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.cutovers import Cutover
from migration_assets.manifest.write_back_ends import Choice, WriteBack
from migration_assets.mapping import Mapping
from migration_assets.mappings import discover
from migration_assets.medplum import Deliverer, MedplumClient
from migration_assets.pipeline import land, migrate
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.referenced import check_references
from migration_assets.run import Way, Window
from migration_assets.settings import Settings
from migration_assets.sweeping import sweep
from migration_assets.switching.changing import carry_out, move, refuse
from migration_assets.switching.cutover.desk import Desk, Word
from migration_assets.switching.cutover.plan import Came, CutoverStep, Seen
from migration_assets.switching.cutover.runbook import advance, back, begin, stands
from migration_assets.switching.evidence import evidence
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.demo.founding import API_KEY
from migration_assets_tests.whole_life.mortality import Killed, Mortality, mortal

PACKAGE = Path(discover.__code__.co_filename).parent.parent
_Made = TypeVar("_Made")
KEYS = ("P1", "P2", "P3")
SYSTEM = "Patient"
ME = Word(by="a person")
SIGNED = Word(by="a person", approved_by="Dr. Who")
BACK = Word(by="the lead", reason="the new chart was slow")
_QUIET = 40


@dataclass
class World:
    """One life. ``written`` remembers each patient's phones, in the order in which people wrote."""

    clinic: Clinic
    sandbox: Sandbox
    folder: Path
    monkeypatch: Any
    written: dict[str, list[str]] = field(default_factory=dict)
    conflicts: Counter[str] = field(default_factory=Counter)
    number: int = 0
    killed: int = 0

    def __post_init__(self) -> None:
        self.sandbox.behave()
        self.sandbox.reset()
        self.variables = {
            "MIGRATION_SOURCE": str(PACKAGE / "demo" / "clinic.yaml"),
            "MIGRATION_LEGACY_URL": self.clinic.base_url,
            "MIGRATION_LEGACY_API_KEY": API_KEY,
            "MIGRATION_MANIFEST_URL": blank_file(self.folder / "manifest.db"),
            "MIGRATION_ADOPTION": str(self.folder / "adoption.toml"),
            "MEDPLUM_BASE_URL": self.sandbox.base_url,
            "MEDPLUM_CLIENT_ID": self.sandbox.client_id,
            "MEDPLUM_CLIENT_SECRET": SECRET,
            "MIGRATION_GATE_DAYS": "0",
            "MIGRATION_CUTOVER_QUIET_POLLS": "2",
            "MIGRATION_CUTOVER_QUIET_SECONDS": "0",
            "MIGRATION_CUTOVER_OBSERVE_HOURS": "0",
            "MIGRATION_CUTOVER_REPORTS": str(self.folder / "report"),
            "MIGRATION_FLAGS": str(self.folder / "flags.json"),
        }
        settings = Settings.model_validate(self.variables)
        self.connections = Connections(settings, environ=lambda: self.variables)
        found = mappings_of(settings)
        self.mappings = (found["Organization"], found["Patient"])
        self.patients = found["Patient"]
        self.phases("rehearse")
        self.clinic.put("organizations", "O1", {"organization_id": "O1", "name": "One"})
        for key in KEYS:
            self.write_legacy(key)

    # -- people ---------------------------------------------------------------------------------

    def write(self, key: str) -> None:
        """Somebody edits a patient in the front end, which writes where the flags say."""
        told = self.folder / "flags.json"
        flags = json.loads(told.read_text()) if told.exists() else {"types": {}}
        if flags["types"].get("Patient", {}).get("write") == "medplum":
            self.write_medplum(key)
        else:
            self.write_legacy(key)

    def write_legacy(self, key: str) -> None:
        """Somebody edits a patient in the legacy system."""
        phone = self._phone(key)
        self.clinic.put(
            "patients",
            key,
            {
                "patient_id": key,
                "last_name": "Doe",
                "gender": "F",
                "phone": phone,
                "organization_id": "O1",
            },
        )

    def write_medplum(self, key: str) -> None:
        """Somebody edits a patient in Medplum."""
        phone = self._phone(key)
        with closing(self.client()) as client:
            FrontEnd(client).edit("Patient", identifier_system("Patient"), key, with_phone(phone))

    def _phone(self, key: str) -> str:
        self.number += 1
        phone = f"+1-555-{self.number:04}"
        self.written.setdefault(key, []).append(phone)
        return phone

    # -- processes ------------------------------------------------------------------------------

    def process(
        self, work: Callable[[Desk], _Made], mortality: Mortality | None = None
    ) -> _Made | None:
        """A process of ours; it may be killed. What a dead one holds is freed after it."""
        try:
            with (
                mortal(self.monkeypatch, mortality or Mortality()),
                desk(self.connections, self.mappings, "life") as opened,
            ):
                return work(_in_no_hurry(opened))
        except Killed:
            self.killed += 1
            self._bury()
        except Transient:  # throttled, dropped, lied to: the next run goes on
            pass
        return None

    def _bury(self) -> None:
        with self.connections.manifest() as manifest:
            names = [kind for each in self.mappings for kind in each.types]
            names += [f"cutover of {kind}" for kind in names]
            names += [f"sweep of {each.stream}" for each in self.mappings]
            for name in names:
                held = manifest.holders.of(name)
                if held is not None:
                    manifest.holders.free(held)

    def follow(self, mortality: Mortality | None = None) -> None:
        """What the sensor does: pull and deliver, where the phase allows it."""

        def pull(opened: Desk) -> None:
            for each in self.mappings:
                if opened.adoption().standing(each.resource_type).may_pull:
                    mark = opened.manifest.high_water_mark(each.stream)
                    way = Way.BACKFILL if mark is None else Way.INCREMENTAL
                    land(opened.run, each, Window(None, None, way=way))
                    migrate(opened.run, each)

        self.process(pull, mortality)

    def to(self, phase: Phase) -> None:
        """Move everything to a phase through its gate; again if a fault came in between."""

        def moved(opened: Desk) -> None:
            for each in self.mappings:
                standing = opened.adoption().standing(each.resource_type)
                if standing.phase is phase:
                    continue
                if phase is Phase.READ:
                    sweep(opened.run, each)  # all of it was read, and not only what changed
                    migrate(opened.run, each)
                    asker = Asker(opened.fhir)
                    compare(opened.manifest, asker, each, clock=opened.clock)
                    check_references(opened.manifest, asker, each, clock=opened.clock)
                found = evidence(opened.witnesses(), each)
                asked = move(each, standing, phase, found, opened.bounds)
                refuse(asked, force=False, reason=None)
                carry_out(opened.manifest, opened.phases, asked, by="x", forced=False, reason=None)

        for _try in range(_QUIET):
            if all(self.phase(each) is phase for each in self.mappings):
                return
            self.follow()
            self.process(moved)
        raise AssertionError(f"it never came to {phase}")

    def go_on(
        self,
        word: Word = SIGNED,
        *,
        steps: int = len(CutoverStep),
        mortality: Mortality | None = None,
    ) -> Seen | None:
        """A process advances the cutover, at most so many steps; begins one if there is none."""

        def advanced(opened: Desk) -> Seen | None:
            last: Seen | None = None
            current = self._under_way(opened.manifest)
            if current is None:
                if self.phase(self.patients) is not Phase.READ:
                    return None
                plan = plan_of(self.connections.settings, owner="the lead")
                current = begin(opened, self.patients, plan, by="a person")
            for _step in range(steps):
                due = stands(opened.manifest, current).due
                for _name, seen in advance(opened, self.patients, current, word, only=due):
                    last = seen
                over = self._under_way(opened.manifest) is None
                if over or last is None or last.came is not Came.DONE:
                    break
            return last

        return self.process(advanced, mortality)

    def go_back(self, mortality: Mortality | None = None) -> Seen | None:
        """A process rolls the cutover back; what both sides edited is decided for Medplum."""

        def returned(opened: Desk) -> Seen | None:
            current = self._under_way(opened.manifest)
            if current is None or self.phase(self.patients) is Phase.RETIRED:
                return None
            self.decide(opened.manifest)
            return back(opened, self.patients, current, BACK)

        return self.process(returned, mortality)

    def decide(self, manifest: Manifest) -> None:
        """A person decides over what was edited on both sides: Medplum's counts."""
        for debt in manifest.write_backs.listed("Patient", (WriteBack.CONFLICT,)):
            self.conflicts[str(debt.key)] += 1
            assert manifest.write_backs.decide(debt, Choice.MEDPLUM, by="the lead", note="asked")

    def retire(self) -> None:
        """The quiet end: whatever it takes people to have the patients retired."""
        self.sandbox.behave()
        seen: Seen | None = None
        for _turn in range(_QUIET):
            if self.phase(self.patients) is Phase.RETIRED and not self._open():
                return
            seen = self.go_on()
            if seen is not None and seen.came is Came.ALARM:
                self.go_back()
            elif seen is not None and "written back" in seen.said:
                with self.connections.manifest() as manifest:
                    self.decide(manifest)
        raise AssertionError(f"it did not end: {seen}")

    # -- what is looked at ----------------------------------------------------------------------

    def phases(self, phase: str) -> None:
        """Write adoption.toml."""
        text = "".join(f'{kind} = "{phase}"\n' for each in self.mappings for kind in each.types)
        (self.folder / "adoption.toml").write_text(text)

    def phase(self, mapping: Mapping[Any]) -> Phase:
        """What adoption.toml says now."""
        return self.connections.adoption().standing(mapping.resource_type).phase

    def client(self) -> MedplumClient:
        """Somebody else's way to Medplum."""
        client = self.connections.medplum()
        assert client is not None
        return client

    def phones(self) -> dict[str, str]:
        """What Medplum holds of each patient; two of one are a failure."""
        with closing(self.client()) as client:
            found = client.search("Patient", {})
        held = [
            (each["identifier"][0]["value"], each["telecom"][0]["value"])
            for each in found
            if each.get("telecom")
        ]
        assert len(dict(held)) == len(held), "doubled"
        return dict(held)

    def legacy_phones(self) -> dict[str, str]:
        """What the legacy system holds of each patient."""
        with desk(self.connections, self.mappings, "look") as opened:
            pages = opened.run.puller.pages("patients", None, None)
            return {str(row.key): row.row["phone"] for page in pages for row in page.rows}

    def check(self) -> None:
        """The law: the last edit of each patient stands in both systems, or lost a decision."""
        held, legacy = self.phones(), self.legacy_phones()
        assert held == legacy, "after a whole life both systems say the same"
        for key, written in self.written.items():
            assert held[key] == written[-1] or self.conflicts[key], f"{key} lost an edit"
            assert held[key] in written
        with self.connections.manifest() as manifest:
            for balance in manifest.balances().values():
                assert balance.holds
                assert balance.by_state[State.PENDING] == balance.by_state[State.REJECTED] == 0
            assert manifest.tallies.recount() == {}
            assert manifest.write_backs.open(["Patient"]) == 0

    def _under_way(self, manifest: Manifest) -> Cutover | None:
        return next(iter(manifest.cutovers.under_way("Patient")), None)

    def _open(self) -> bool:
        with self.connections.manifest() as manifest:
            return self._under_way(manifest) is not None


def _in_no_hurry(opened: Desk) -> Desk:
    """The same desk, but that nothing is waited for after an answer that got lost."""
    at_once = partial(Deliverer, sleep=lambda _seconds: None)
    return replace(opened, run=replace(opened.run, new_deliverer=at_once))
