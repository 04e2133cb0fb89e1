"""A source that serves what a test scripts, and two mappings small enough to see through.

Stands in for the legacy API only where a test must decide what is served and when it breaks.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from migration_assets.errors import Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import reference
from migration_assets.legacy import Presence, PulledPage, PulledRow, Sighting
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


def practice(row: Organization) -> Resource:
    """A mapping with a back-reference: the patient it was made for loads later."""
    made: Resource = {
        "resourceType": "Organization",
        "identifier": [{"system": identifier_system("Organization"), "value": row.id}],
        "name": row.name or row.id,
        "extension": [{"url": "http://example.org/size", "valueInteger": 1}],
    }
    if row.parent:
        founder = reference("Patient", row.parent)
        made["extension"].append({"url": "http://example.org/founder", "valueReference": founder})
    return made


ORGANIZATIONS = Mapping(
    stream="organizations",
    row=Organization,
    resource_type="Organization",
    build=organization,
    version="1.0.0",
    step=Step.ORGANIZATIONS,
)
PRACTICES = Mapping(
    stream="organizations",
    row=Organization,
    resource_type="Organization",
    build=practice,
    version="1.0.0",
    step=Step.ORGANIZATIONS,
    back_references=("Organization.extension.valueReference",),
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
    """Serves rows by change time, a few per page; fails before page ``fail_at`` of a pull.

    ``before_page`` is called with each page's number. A stream in ``sightings`` can be asked for
    one row.
    """

    def __init__(self, page_size: int = 2) -> None:
        self.rows: dict[str, list[PulledRow]] = {"organizations": [], "patients": []}
        self.page_size = page_size
        self.fail_at: int | None = None
        self.before_page: Callable[[int], None] | None = None
        self.sightings: dict[str, Callable[[str], Sighting]] = {}
        self.requests_made = 0
        self.span: tuple[datetime | None, datetime | None] = (None, None)
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

    def drop(self, stream: str, key: str) -> PulledRow:
        """Take a row out without a trace, and give it back to whoever wants to put it in again."""
        (dropped,) = (each for each in self.rows[stream] if each.key == key)
        self.rows[stream].remove(dropped)
        return dropped

    def pages(
        self,
        stream: str,
        since: datetime | None,
        until: datetime | None,
        *,
        parents: Iterable[str] | None = None,
        known_parents: Callable[[str], bool] | None = None,
        whole: bool = False,
    ) -> Iterator[PulledPage]:
        """What the legacy puller yields."""
        rows = sorted(self.rows[stream], key=lambda each: (each.changed_at or START, str(each.key)))
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
            if self.before_page is not None:
                self.before_page(number)
            self.requests_made += 1
            yield PulledPage(tuple(kept[start : start + self.page_size]), self.now)

    def close(self) -> None:
        """Nothing is open."""

    def acknowledge(self, stream: str) -> Iterator[PulledPage]:
        """Nothing here is marked as read."""
        return iter(())

    def time_slack(self, stream: str) -> timedelta:
        """Times here are instants."""
        return timedelta(0)

    def floored(self, stream: str, moment: datetime) -> datetime:
        """Times here are exact."""
        return moment

    def asks_for(self, stream: str) -> tuple[datetime | None, datetime | None]:
        """Everything, unless the test says otherwise."""
        return self.span

    def can_look_up(self, stream: str) -> bool:
        """Where the test says how it answers."""
        return stream in self.sightings

    def look_up(self, stream: str, key: str) -> Sighting:
        """As the test says."""
        return self.sightings[stream](key)

    def asked_honestly(self, key: str) -> Sighting:
        """What an honest source answers of an organization."""
        found = [each for each in self.rows["organizations"] if each.key == key]
        return Sighting(Presence.PRESENT, found[0]) if found else Sighting(Presence.GONE)
