"""A source that serves what a test scripts, and two mappings small enough to see through.

Stands in for the legacy API only where a test must decide what is served and when it breaks.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from migration_assets.errors import Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import reference
from migration_assets.legacy import PulledPage, PulledRow
from migration_assets.mapping import Mapping, Quarantined, Resource, Row, Skip, Step

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 15, tzinfo=UTC)


class Organization(Row):
    """An organization, perhaps part of another."""

    id: str
    name: str | None = None
    parent: str | None = None


class Patient(Row):
    """A patient of an organization."""

    id: str
    family: str = "Doe"
    organization: str | None = None


def organization(row: Organization) -> Resource | Skip:
    """A mapping with each way out."""
    if row.name == "skip me":
        return Skip("test-record")
    if row.name == "quarantine me":
        raise Quarantined("unmapped-code", "name")
    if row.name == "crash":
        raise ZeroDivisionError("CANARY")
    made: Resource = {
        "resourceType": "Organization",
        "identifier": [{"system": identifier_system("Organization"), "value": row.id}],
        "name": row.name or row.id,
    }
    if row.parent:
        made["partOf"] = reference("Organization", row.parent)
    return made


def patient(row: Patient) -> Resource:
    """A mapping with a reference to another type."""
    made: Resource = {
        "resourceType": "Patient",
        "identifier": [{"system": identifier_system("Patient"), "value": row.id}],
        "name": [{"family": row.family}],
    }
    if row.organization:
        made["managingOrganization"] = reference("Organization", row.organization)
    return made


ORGANIZATIONS = Mapping(
    stream="organizations",
    row=Organization,
    resource_type="Organization",
    build=organization,
    version="1.0.0",
    step=Step.ORGANIZATIONS,
)
PATIENTS = Mapping(
    stream="patients",
    row=Patient,
    resource_type="Patient",
    build=patient,
    version="1.0.0",
    step=Step.PATIENTS,
    after=("Organization",),
)


class ScriptedSource:
    """Serves rows by change time, a few per page; fails before page ``fail_at`` of a pull."""

    def __init__(self, page_size: int = 2) -> None:
        self.rows: dict[str, list[PulledRow]] = {"organizations": [], "patients": []}
        self.page_size = page_size
        self.fail_at: int | None = None
        self.now = NOW

    def put(self, stream: str, key: str, *, at: int = 0, **content: Any) -> None:
        """Add or replace a row, changed ``at`` seconds after the start."""
        self.rows[stream] = [each for each in self.rows[stream] if each.key != key]
        changed = START + timedelta(seconds=at)
        self.rows[stream].append(PulledRow(key, {"id": key, **content}, changed, False, None))

    def delete(self, stream: str, key: str, *, at: int) -> None:
        """Replace a row by its tombstone."""
        self.put(stream, key, at=at)
        last = self.rows[stream].pop()
        self.rows[stream].append(PulledRow(key, last.row, last.changed_at, True, None))

    def pages(
        self, stream: str, since: datetime | None, until: datetime | None
    ) -> Iterator[PulledPage]:
        """What the legacy puller yields."""
        rows = sorted(self.rows[stream], key=lambda each: (each.changed_at or START, each.key))
        kept = [
            each
            for each in rows
            if each.changed_at is None
            or (
                (since is None or each.changed_at >= since)
                and (until is None or each.changed_at < until)
            )
        ]
        for number, start in enumerate(range(0, max(len(kept), 1), self.page_size)):
            if number == self.fail_at:
                raise Transient("the source went down")
            yield PulledPage(tuple(kept[start : start + self.page_size]), self.now)
