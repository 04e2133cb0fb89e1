"""Invented submissions, and a FHIR server that fails on cue."""

from collections.abc import Callable, Mapping
from typing import Any

from migration_assets.errors import MigrationError
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import reference
from migration_assets.medplum import (
    Ambiguous,
    Delivered,
    Deliverer,
    Fhir,
    MedplumClient,
    Member,
    Submission,
)

PATIENTS = identifier_system("Patient")


def patient(key: str, family: str = "Doe", **known: Any) -> Member:
    """A patient to be written."""
    body = {
        "resourceType": "Patient",
        "identifier": [{"system": PATIENTS, "value": key}],
        "name": [{"family": family}],
    }
    return Member("Patient", PATIENTS, key, body, **known)


def of_type(resource_type: str, key: str, **content: Any) -> Member:
    """A resource of any type to be written."""
    system = identifier_system(resource_type)
    body = {
        "resourceType": resource_type,
        "identifier": [{"system": system, "value": key}],
        **content,
    }
    return Member(resource_type, system, key, body)


def group(key: str, subject: str) -> Submission:
    """An encounter and its clinical impression, which refer to each other."""
    who = {"reference": subject}
    encounter = of_type(
        "Encounter",
        key,
        status="finished",
        subject=who,
        **{"class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}},
    )
    note = of_type(
        "ClinicalImpression",
        key,
        status="completed",
        subject=who,
        encounter=reference("Encounter", key),
        summary="well",
    )
    return Submission(1, (encounter, note))


def single(*members: Member) -> list[Submission]:
    """A submission for each member."""
    return [Submission(unit, (each,)) for unit, each in enumerate(members, start=1)]


def deliver(
    fhir: Fhir, submissions: list[Submission], *, exclusive: bool = False, seconds: float = 60.0
) -> list[Delivered]:
    """Deliver all of them without real waits."""
    deliverer = Deliverer(
        fhir, exclusive=exclusive, deadline_seconds=seconds, sleep=lambda _seconds: None
    )
    return [each for finished in deliverer.deliver(submissions) for each in finished]


def events(delivered: list[Delivered]) -> list[str]:
    """What happened to each member, in order."""
    return [answer.event for each in delivered for answer in each.answers]


Fault = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class Failing:
    """Carries bundles out for real, and then does to each answer what the next fault says."""

    def __init__(self, client: MedplumClient, *faults: Fault | MigrationError) -> None:
        self._client = client
        self._faults = list(faults)
        self.pacer = client.pacer
        self.bundles = 0

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """Send it, then fail."""
        self.bundles += 1
        fault = self._faults.pop(0) if self._faults else None
        if isinstance(fault, MigrationError) and not isinstance(fault, Ambiguous):
            raise fault
        answer = self._client.post_bundle(body, entries)
        if isinstance(fault, Ambiguous):
            raise fault
        return fault(answer) if fault else answer

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """Search for real."""
        return self._client.search(resource_type, params)

    def transactions_available(self) -> bool:
        """Ask for real."""
        return self._client.transactions_available()


def answered(status: str, text: str, code: str = "invalid", **issue: Any) -> dict[str, Any]:
    """An entry that failed as the contract's transcripts show."""
    told = {"severity": "error", "code": code, "details": {"text": text}, **issue}
    outcome = {"resourceType": "OperationOutcome", "id": code, "issue": [told]}
    return {"response": {"status": status, "outcome": outcome}}
