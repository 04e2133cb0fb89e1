"""The demo clinic's population: any number of invented patients, row by row, the same every time.

Belongs here: how many of what, when each row changed, what refers to what. Does not belong here:
what a row looks like (``patient_rows``, ``staff_rows``, ``guide_rows``, ``nasty_rows``) or where it
goes (``clinic_store``). Keys follow from numbers, so nothing is remembered and a million patients
need no more memory than ten. Staff and organizations come last, and change times are spread over
two years whatever refers to what: rows arrive before what they refer to, as in real life.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from migration_assets.demo import patient_rows, staff_rows
from migration_assets.demo.clinic_store import KEY_FIELDS, ClinicRow, milliseconds
from migration_assets.demo.dice import chance
from migration_assets.demo.guide_rows import GUIDE_ROWS
from migration_assets.demo.invented_values import CONDITIONS, PANELS
from migration_assets.demo.nasty_rows import KINDS, LONG_NOTE, NastyRow, Setting, nasty_rows

SMALLEST, LARGEST = 10, 1_000_000

_DAY = 86_400_000  # milliseconds
_HISTORY = 730 * _DAY
_BELATED = 2 * _DAY  # a visit's rows are last changed up to so long after it


def generate(
    patients: int,
    seed: int,
    now: datetime,
    *,
    nasty: float = 0.02,
    canary: str | None = None,
    on_nasty: Callable[[NastyRow], None] = lambda _row: None,
) -> Iterator[ClinicRow]:
    """The rows of a clinic of ``patients`` besides the guide's two, about ten rows for each.

    Args:
        patients: from 10 to 1,000,000.
        seed: the same seed, size and ``now`` give the same rows.
        now: rows were last changed in the 730 days before it.
        nasty: share of nasty rows; unless it is 0 there is at least one of every kind.
        canary: a mark to put into every patient's family name and every note.
        on_nasty: told of every nasty row as it is made.

    Raises:
        ValueError: a size the clinic is not made for.
    """
    if not SMALLEST <= patients <= LARGEST:
        raise ValueError(f"A clinic has {SMALLEST:,} to {LARGEST:,} patients.")
    rows = _with_nasty(_Clinic(patients, seed, milliseconds(now)), nasty, on_nasty)
    return rows if canary is None else (_marked(row, canary) for row in rows)


@dataclass(frozen=True)
class _Times:
    """Moments of the clinic's two recorded years, in milliseconds."""

    random: Random
    now: int

    def some(self) -> int:
        """Any moment before now."""
        return self.now - 1 - int(self.random.random() * (_HISTORY - 1))

    def soon_after(self, moment: int) -> int:
        """A moment in the days after another, but before now."""
        return min(self.now - 1, moment + int(self.random.random() * _BELATED))


class _Clinic:
    """The ordinary rows of a clinic."""

    def __init__(self, patients: int, seed: int, now: int) -> None:
        self.random = Random(f"clinic {seed}")  # noqa: S311 - invented data, to be the same again
        self.times = _Times(self.random, now)
        self.patients = patients
        self.organizations = max(3, patients // 500)
        self.practitioners = max(4, patients // 100)
        self.roles = -(-self.practitioners * 6 // 5)

    def patient_id(self, number: int) -> str:
        """The key of the patient ``number``, from 0; the guide's are P001 and P002."""
        return f"P{number + 1:07}"

    def guide(self) -> Iterator[ClinicRow]:
        """The guide's own rows, and the rest of its lookup table."""
        for stream, rows in GUIDE_ROWS.items():
            for row in rows:
                yield ClinicRow(stream, row[KEY_FIELDS[stream]], self.times.some(), dict(row))
        for key, name, icd10_code in CONDITIONS[len(GUIDE_ROWS["conditions"]) :]:
            row = {"condition_id": key, "condition_name": name, "icd10_code": icd10_code}
            yield ClinicRow("conditions", key, self.times.some(), row)

    def staff(self) -> Iterator[ClinicRow]:
        """Roles, then who has them and where: the other way round would be too easy."""
        random, times = self.random, self.times
        for number in range(self.roles):
            key = f"R{number + 1:06}"
            role = staff_rows.practitioner_role(
                random,
                key,
                staff_rows.practitioner_id(number % self.practitioners),
                self._organization(),
                times.now,
            )
            yield ClinicRow("practitioner_roles", key, times.some(), role)
        for number in range(self.practitioners):
            key = staff_rows.practitioner_id(number)
            yield ClinicRow(
                "practitioners", key, times.some(), staff_rows.practitioner(random, key)
            )
        for number in reversed(range(self.organizations)):
            key = staff_rows.organization_id(number)
            parent = random.randrange(number) if number and chance(random, 0.5) else None
            parent_id = None if parent is None else staff_rows.organization_id(parent)
            row = staff_rows.organization(random, key, parent_id)
            yield ClinicRow("organizations", key, times.some(), row)

    def of_patient(self, number: int) -> Iterator[ClinicRow]:
        """A patient and all that is recorded of them."""
        random, times = self.random, self.times
        patient_id = self.patient_id(number)
        suffix = patient_id[1:]
        conditions = list(self._conditions(patient_id, suffix))
        yield from conditions
        for count in range(random.choice((0, 1, 1, 2))):
            at = times.some()
            key = f"RX{suffix}-{count + 1}"
            reason = random.choice(conditions).key if conditions and chance(random, 0.6) else None
            row = patient_rows.prescription(
                random,
                key,
                patient_id,
                at,
                practitioner_id=self._practitioner(),
                reason_condition_id=reason,
            )
            yield ClinicRow("prescriptions", key, times.soon_after(at), row)
        visits = list(self._visits(patient_id, suffix))
        yield from (row for row, _at in visits)
        yield from self._findings(patient_id, suffix, [(row.key, at) for row, at in visits])
        row = patient_rows.patient(
            random,
            patient_id,
            times.now,
            organization_id=self._organization() if chance(random, 0.9) else None,
            practitioner_id=self._practitioner() if chance(random, 0.8) else None,
        )
        yield ClinicRow("patients", patient_id, times.some(), row)

    def _conditions(self, patient_id: str, suffix: str) -> Iterator[ClinicRow]:
        for count in range(self.random.choice((0, 1, 1, 2, 2, 3))):
            at = self.times.some()
            key = f"PC{suffix}-{count + 1}"
            row = patient_rows.patient_condition(
                self.random, key, patient_id, at, practitioner_id=self._practitioner()
            )
            yield ClinicRow("patient_conditions", key, self.times.soon_after(at), row)

    def _visits(self, patient_id: str, suffix: str) -> Iterator[tuple[ClinicRow, int]]:
        for count in range(self.random.choice((1, 1, 2, 2, 3, 3))):
            at = self.times.some()
            key = f"E{suffix}-{count + 1}"
            row = patient_rows.encounter(
                self.random,
                key,
                patient_id,
                at,
                practitioner_id=self._practitioner(),
                organization_id=self._organization(),
            )
            yield ClinicRow("encounters", key, self.times.soon_after(at), row), at

    def _findings(
        self, patient_id: str, suffix: str, visits: list[tuple[str, int]]
    ) -> Iterator[ClinicRow]:
        random = self.random
        codes: list[str | None] = [None] * random.choice((2, 2, 3, 3, 4, 5))
        panel = random.choice(tuple(PANELS)) if chance(random, 0.3) else None
        labs: list[str] = []
        if panel:
            labs = random.sample(PANELS[panel], random.randint(2, len(PANELS[panel])))
        encounter_id, at = random.choice(visits)
        practitioner_id = self._practitioner()
        if panel:
            key = f"DR{suffix}-1"
            report = patient_rows.diagnostic_report(
                random,
                key,
                patient_id,
                at,
                code=panel,
                observation_ids=[f"OB{suffix}-{place + 1}" for place in range(len(labs))],
                encounter_id=encounter_id,
                practitioner_id=practitioner_id,
            )
            yield ClinicRow("diagnostic_reports", key, self.times.soon_after(at), report)
        for count, lab in enumerate([*labs, *codes]):
            key = f"OB{suffix}-{count + 1}"
            row = patient_rows.observation(
                random,
                key,
                patient_id,
                at,
                encounter_id=encounter_id,
                practitioner_id=practitioner_id,
                lab=lab,
            )
            yield ClinicRow("observations", key, self.times.soon_after(at), row)

    def _organization(self) -> str:
        return staff_rows.organization_id(int(self.random.random() * self.organizations))

    def _practitioner(self) -> str:
        return staff_rows.practitioner_id(int(self.random.random() * self.practitioners))


def _with_nasty(
    clinic: _Clinic, share: float, on_nasty: Callable[[NastyRow], None]
) -> Iterator[ClinicRow]:
    """The clinic's rows, and as many nasty ones that they are ``share`` of all."""
    made = nasty_made = 0
    waiting = list(KINDS) if share else []  # every kind once, before chance decides
    kinds = [kind for kind in KINDS if kind != LONG_NOTE]
    yield from clinic.guide()
    for number in range(clinic.patients):
        for row in clinic.of_patient(number):
            made += 1
            yield row
        while waiting or nasty_made < share * (made + nasty_made):
            kind = waiting.pop() if waiting else clinic.random.choice(kinds)
            setting = Setting(
                clinic.random, nasty_made + 1, clinic.patient_id(number), clinic.times.some()
            )
            for row, entry in nasty_rows(kind, setting):
                nasty_made += 1
                on_nasty(entry)
                yield row
    yield from clinic.staff()


def _marked(row: ClinicRow, canary: str) -> ClinicRow:
    body: Any = row.body
    if isinstance(body, dict):
        if row.stream == "patients":
            body = body | {"last_name": f"{body['last_name']} {canary}"}
        if body.get("note"):
            body = body | {"note": f"{body['note']} {canary}"}
    return row._replace(body=body)
