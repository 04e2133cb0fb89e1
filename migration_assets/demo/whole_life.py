"""``migration demo --cutover``: the demo clinic from a rehearsal to a retired legacy system.

Belongs here: the story, told as it happens: people at work on both sides, a rollback on the way.
Does not belong here: printing it, or any way around the product: phases are moved through their
gates, and every cutover is the runbook's. Only its time is short: days are seconds by settings.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson

from migration_assets.adoption import Phase
from migration_assets.connections import Connections, mappings_of
from migration_assets.cutting_over import desk, plan_of
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.front_end import FrontEnd, with_phone
from migration_assets.demo.guide_rows import is_guide_key
from migration_assets.demo.home import Home
from migration_assets.demo.migration import demo_settings, environment, materialize_everything
from migration_assets.demo.nasty_rows import is_nasty_key
from migration_assets.demo.services import Services
from migration_assets.errors import Permanent
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Choice, Decision, Selection, State
from migration_assets.manifest.cutovers import Cutover
from migration_assets.mapping import Mapping
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.referenced import check_references
from migration_assets.run import Progress
from migration_assets.switching.changing import carry_out, move, refuse
from migration_assets.switching.cutover.desk import Desk, Word
from migration_assets.switching.cutover.plan import Came, CutoverStep, Seen
from migration_assets.switching.cutover.runbook import advance, back, begin, stands
from migration_assets.switching.evidence import evidence

LEAD, SIGNER, OWNER = "M. Lead", "Dr. B. Clinician", "A. Owner"
_ADOPTION = "# written by migration demo --cutover\n"
_LONGEST = 300.0
_PAUSE = 0.25


class Teller(Protocol):
    """Who tells the story."""

    def chapter(self, title: str) -> None:
        """Something begins."""

    def fact(self, text: str) -> None:
        """Something happened."""

    def step(self, kind: str, step: CutoverStep, seen: Seen) -> None:
        """A look at a step of a cutover."""


@dataclass
class Edits:
    """What people wrote while the clinic was migrated, on either side."""

    legacy: list[tuple[str, str]] = field(default_factory=list)
    medplum: dict[str, str] = field(default_factory=dict)  # patient's key → phone


def short_times(folder: Path, today: date) -> dict[str, str]:
    """Settings that make a life short; in a real one these are days, and two years of months."""
    return {
        "MIGRATION_START": (today.replace(day=1) - timedelta(days=1)).replace(day=1).isoformat(),
        "MIGRATION_GATE_DAYS": "0",
        "MIGRATION_CUTOVER_QUIET_POLLS": "2",
        "MIGRATION_CUTOVER_QUIET_SECONDS": "1",
        "MIGRATION_CUTOVER_OBSERVE_HOURS": str(1 / 3600),
        "MIGRATION_CUTOVER_REPORTS": str(folder / "report"),
        "MIGRATION_FLAGS": str(folder / "flags.json"),
    }


@dataclass
class WholeLife:
    """One life of the demo clinic."""

    home: Home
    running: Services
    variables: dict[str, str]
    tell: Teller
    progress: Progress
    types: frozenset[str] | None = None
    """Only mappings that make these; None: all of them."""
    materialize: Callable[[dict[str, str], Progress], None] = materialize_everything
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    edits: Edits = field(default_factory=Edits)

    def __post_init__(self) -> None:
        self.connections = Connections(
            demo_settings(self.variables), environ=lambda: self.variables
        )
        found = mappings_of(self.connections.settings).values()
        self.mappings = tuple(
            each for each in found if self.types is None or each.resource_type in self.types
        )

    def live(self) -> None:
        """From the rehearsal to the end.

        Raises:
            Permanent: a gate stayed shut, or a cutover did not end.
        """
        self.rehearse()
        self.backfill()
        self.read()
        (patients,) = (each for each in self.mappings if each.resource_type == "Patient")
        self.tell.chapter("Patients are cut over first")
        self.there_and_back(patients)
        self.tell.chapter("Everything is cut over, patients once more")
        self.cut_over(self.mappings)

    # -- up to phase read ------------------------------------------------------------------------

    def rehearse(self) -> None:
        """Everything is mapped and validated, nothing is written."""
        self.tell.chapter("Rehearse: everything is mapped and validated, nothing is written")
        self._write_phases(Phase.REHEARSE)
        self._materialize()
        with self._desk() as opened:
            self.tell.fact(f"{self._accepted(opened):,} rows are accepted as they are, by {SIGNER}")
            for each in self.mappings:
                self._move(opened, each, Phase.BACKFILL)

    def backfill(self) -> None:
        """Everything is written to Medplum; the clinic works on."""
        self.tell.chapter("Backfill: everything is written to Medplum; the clinic works on")
        self._materialize()
        with self._desk() as opened:
            rows = opened.manifest.balances()
            written = sum(each.by_state[State.MIGRATED] for each in rows.values())
            self.tell.fact(f"{written:,} rows migrated")
            self._accepted(opened)

    def read(self) -> None:
        """Medplum is compared with the account; front ends read there from now on."""
        self.tell.chapter("Read: compared with Medplum as a whole, front ends read there")
        with self._desk() as opened:
            asker = Asker(opened.fhir)
            for each in self.mappings:
                self._compare(opened, asker, each)
            self.tell.fact(f"compared for {asker.points:,} quota points, nothing differs")
            for each in self.mappings:
                self._move(opened, each, Phase.READ)

    # -- the cutovers ----------------------------------------------------------------------------

    def there_and_back(self, patients: Mapping[Any]) -> None:
        """Flipped, worked with, rolled back: what was written in Medplum is kept."""
        self.staff_works(seed=1)
        current = self._begun(patients)
        self._until_flipped(patients, current)
        self.front_end_works()
        word = Word(by=OWNER, reason="the new chart was slow")
        with self._desk() as opened:
            seen = back(opened, patients, current, word)
        if seen.came is not Came.DONE:
            raise Permanent(f"The rollback did not end: {seen.said}")
        kept = sum(self.phone_in_legacy(key) == phone for key, phone in self.edits.medplum.items())
        self.tell.fact(f"rolled back: {seen.said}")
        self.tell.fact(f"{kept} of {len(self.edits.medplum)} edits made in Medplum are kept there")
        self.staff_works(seed=2)

    def cut_over(self, mappings: Sequence[Mapping[Any]]) -> None:
        """All of these side by side, each at its own pace, until they are retired."""
        under_way = {each.resource_type: (each, self._begun(each)) for each in mappings}
        worked = False
        until = self.clock() + _LONGEST
        while under_way:
            if self.clock() > until:
                raise Permanent(f"No end of {', '.join(under_way)} in {_LONGEST:.0f} s.")
            for kind, (mapping, current) in list(under_way.items()):
                self._advanced(mapping, current)
                if not self._is_open(current):
                    del under_way[kind]
                if kind == "Patient" and not worked and self._flipped(current):
                    worked = True
                    self.front_end_works()
            self.sleep(_PAUSE)

    def staff_works(self, *, seed: int) -> None:
        """The clinic's staff goes on working in the legacy system."""
        made = self.running.clinic.change(seed, updates=8, inserts=2, deletes=1)
        self.edits.legacy += [row for rows in made.values() for row in rows]
        counts = ", ".join(f"{len(rows)} {kind}" for kind, rows in made.items() if rows)
        self.tell.fact(f"meanwhile in the legacy system: {counts}")

    def front_end_works(self) -> None:
        """People work in Medplum: phones change."""
        before = len(self.edits.medplum)
        with self._desk() as opened, closing(self._medplum()) as client:
            front_end = FrontEnd(client)
            for key in self._sound_patients(opened, 3):
                phone = f"+1-555-77{len(self.edits.medplum):02}"
                front_end.edit("Patient", identifier_system("Patient"), key, with_phone(phone))
                self.edits.medplum[key] = phone
        self.tell.fact(f"meanwhile in Medplum: {len(self.edits.medplum) - before} patients edited")

    def lost(self) -> list[str]:
        """Edits of either side that Medplum does not hold, by stream or type; none is expected.

        What the legacy system holds is on account as it is; and the account was compared with
        Medplum before each flip.
        """
        missing: list[str] = []
        with self._desk() as opened, closing(self._medplum()) as client:
            for each in self.mappings:
                pages = opened.run.puller.pages(each.stream, None, None)
                unseen = sum(opened.manifest.unseen(each.stream, page.rows) for page in pages)
                missing += [each.stream] * unseen
            front_end = FrontEnd(client)
            for key, phone in self.edits.medplum.items():
                held = front_end.found("Patient", identifier_system("Patient"), key)
                if phone not in [each.get("value") for each in held.get("telecom", ())]:
                    missing.append("Patient")
        return missing

    def phone_in_legacy(self, key: str) -> str | None:
        """A patient's phone as the clinic has it."""
        with ClinicStore(self.home.clinic, read_only=True) as store:
            found = store.row("patients", key)
        return None if found is None else orjson.loads(found[0]).get("phone")

    # -- parts -----------------------------------------------------------------------------------

    def _until_flipped(self, mapping: Mapping[Any], current: Cutover) -> None:
        until = self.clock() + _LONGEST
        while not self._flipped(current):
            if self.clock() > until:
                raise Permanent(f"{mapping.resource_type} was not flipped in {_LONGEST:.0f} s.")
            for step in list(CutoverStep)[:5]:
                self._advanced(mapping, current, only=step)
            self.sleep(_PAUSE)

    def _begun(self, mapping: Mapping[Any]) -> Cutover:
        with self._desk() as opened:
            plan = plan_of(self.connections.settings, owner=OWNER)
            return begin(opened, mapping, plan, by=LEAD)

    def _advanced(
        self, mapping: Mapping[Any], current: Cutover, *, only: CutoverStep | None = None
    ) -> None:
        """One call of the runbook; told where something new was found."""
        word = Word(by=LEAD, approved_by=SIGNER)
        with self._desk() as opened:
            self._accepted(opened)
            for step, seen in advance(opened, mapping, current, word, only=only):
                if seen.came is Came.ALARM:
                    raise Permanent(f"{mapping.resource_type}: {seen.said}")
                self.tell.step(mapping.resource_type, step, seen)

    def _is_open(self, current: Cutover) -> bool:
        with self.connections.manifest() as manifest:
            return any(each.id == current.id for each in manifest.cutovers.under_way())

    def _flipped(self, current: Cutover) -> bool:
        with self.connections.manifest() as manifest:
            return stands(manifest, current).flipped

    def _accepted(self, opened: Desk) -> int:
        """What nobody can mend is accepted, as people would after looking at it."""
        streams = tuple(each.stream for each in self.mappings)
        decision = Decision(
            by=SIGNER, approver=SIGNER, choice=Choice.ACCEPT, note="looked at, stays as it is"
        )
        chosen = Selection(streams=streams, states=_FAILED, open_only=True)
        return opened.manifest.decisions.assign(chosen, decision)

    def _move(self, opened: Desk, mapping: Mapping[Any], becomes: Phase) -> None:
        standing = opened.adoption().standing(mapping.resource_type)
        found = evidence(opened.witnesses(), mapping)
        asked = move(mapping, standing, becomes, found, opened.bounds)
        refuse(asked, force=False, reason=None)
        carry_out(opened.manifest, opened.phases, asked, by=LEAD, forced=False, reason=None)
        opened.publish(opened.adoption(), by=LEAD)

    def _compare(self, opened: Desk, asker: Asker, mapping: Mapping[Any]) -> None:
        for kind in mapping.types:
            related = None if kind == mapping.resource_type else kind
            cohort, clock = Cohort(resource_type=related), opened.clock
            compare(opened.manifest, asker, mapping, cohort=cohort, clock=clock)
            check_references(opened.manifest, asker, mapping, resource_type=related, clock=clock)

    def _sound_patients(self, opened: Desk, number: int) -> list[str]:
        """Keys of patients with a phone whom nobody edited yet."""
        found: list[str] = []
        for unit in opened.manifest.landed_units("patients", limit=10_000):
            known = is_nasty_key(unit.key) or is_guide_key(unit.key)
            used = unit.key in self.edits.medplum or ("patients", unit.key) in self.edits.legacy
            sound = isinstance(unit.row, dict) and unit.row.get("phone") and unit.targets
            if sound and not known and not used and not unit.deleted:
                found.append(unit.key)
            if len(found) == number:
                break
        return found

    def _medplum(self) -> Any:
        client = self.connections.medplum()
        if client is None:
            raise Permanent("The demo has no Medplum.")
        return client

    def _write_phases(self, phase: Phase) -> None:
        kinds = [kind for each in self.mappings for kind in each.types]
        lines = "".join(f'{kind} = "{phase}"\n' for kind in kinds)
        self.home.adoption.write_text(_ADOPTION + lines, encoding="utf-8")

    def _materialize(self) -> None:
        with environment(self.variables):
            self.materialize(self.variables, self.progress)

    @contextmanager
    def _desk(self) -> Iterator[Desk]:
        with desk(self.connections, self.mappings, "demo --cutover") as opened:
            yield opened


_FAILED = (State.QUARANTINED, State.REJECTED)


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)
