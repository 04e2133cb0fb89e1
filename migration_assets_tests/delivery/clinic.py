"""A clinic of four streams that between them use all that a mapping can ask for, and its rows.

Places refer back to a patient who loads later; patients are archived and merged; a stay is a group
of two; rooms are only ever created. What must be in Medplum is written here once more, by hand.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import reference
from migration_assets.manifest import token
from migration_assets.mapping import Mapping, Related, Removal, Resource, Row, Skip, Step

PLACES, PERSONS, STAYS, ROOMS = "places", "persons", "stays", "rooms"
KEYS = {PLACES: "AB", PERSONS: "PQR", STAYS: "VWX", ROOMS: "LM"}
TYPES = {
    PLACES: ("Organization",),
    PERSONS: ("Patient",),
    STAYS: ("Encounter", "ClinicalImpression"),
    ROOMS: ("Location",),
}
STREAM_OF = {kind: stream for stream, kinds in TYPES.items() for kind in kinds}
_HAS_ACTIVE = ("Organization", "Patient")
_CLASS = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}


class Place(Row):
    """An organization that a patient may have founded."""

    id: str
    name: str
    founder: str | None = None
    left_out: bool = False


class Person(Row):
    """A patient, perhaps of a place."""

    id: str
    name: str
    place: str | None = None
    left_out: bool = False


class Stay(Row):
    """An encounter, with a note or without."""

    id: str
    person: str
    length: int = 1
    note: str | None = None
    left_out: bool = False


class Room(Row):
    """A location, seeded once."""

    id: str
    name: str
    left_out: bool = False


def token_of(kind: str, key: str) -> str:
    """How the account names the resource of a row."""
    return token(kind, identifier_system(kind), key)


def tokens() -> list[str]:
    """Of every resource there may ever be."""
    return [
        token_of(kind, key) for stream in KEYS for kind in TYPES[stream] for key in KEYS[stream]
    ]


def first_tokens(stream: str | None) -> list[str]:
    """Those of the first row of a stream, or of every stream."""
    streams = [stream] if stream else list(KEYS)
    return [token_of(kind, KEYS[each][0]) for each in streams for kind in TYPES[each]]


def identified(kind: str, key: str) -> Resource:
    """A resource that says no more than whose it is."""
    return {
        "resourceType": kind,
        "identifier": [{"system": identifier_system(kind), "value": key}],
    }


def _place(row: Place) -> Resource | Skip:
    if row.left_out:
        return Skip("left-out")
    size = {"url": "http://example.org/size", "valueInteger": 1}
    made = {**identified("Organization", row.id), "name": row.name, "extension": [size]}
    if row.founder:
        founder = reference("Patient", row.founder)
        made["extension"].append({"url": "http://example.org/founder", "valueReference": founder})
    return made


def _person(row: Person) -> Resource | Skip:
    if row.left_out:
        return Skip("left-out")
    made = {**identified("Patient", row.id), "name": [{"family": row.name}]}
    if row.place:
        made["managingOrganization"] = reference("Organization", row.place)
    return made


def _stay(row: Stay) -> Resource | Related | Skip:
    if row.left_out:
        return Skip("left-out")
    subject = reference("Patient", row.person)
    encounter = {
        **identified("Encounter", row.id),
        "status": "finished",
        "class": _CLASS,
        "subject": subject,
        "length": {"value": row.length},
    }
    if row.note is None:
        return encounter
    note = {
        **identified("ClinicalImpression", row.id),
        "status": "completed",
        "subject": subject,
        "encounter": reference("Encounter", row.id),
        "summary": row.note,
    }
    return Related((encounter, note))


def _room(row: Room) -> Resource | Skip:
    if row.left_out:
        return Skip("left-out")
    return {**identified("Location", row.id), "name": row.name}


_MAPPINGS: tuple[Mapping[Any], ...] = (
    Mapping(
        stream=PLACES,
        row=Place,
        resource_type="Organization",
        build=_place,
        version="1",
        step=Step.ORGANIZATIONS,
        back_references=("Organization.extension.valueReference",),
    ),
    Mapping(
        stream=ROOMS,
        row=Room,
        resource_type="Location",
        build=_room,
        version="1",
        step=Step.ORGANIZATIONS,
        create_only=True,
    ),
    Mapping(
        stream=PERSONS,
        row=Person,
        resource_type="Patient",
        build=_person,
        version="1",
        step=Step.PATIENTS,
        after=("Organization",),
    ),
    Mapping(
        stream=STAYS,
        row=Stay,
        resource_type="Encounter",
        build=_stay,
        version="1",
        step=Step.HISTORY,
        after=("Patient",),
        related=("ClinicalImpression",),
    ),
)
_MARKS = {
    "Organization": Removal.INACTIVE,
    "Patient": Removal.INACTIVE,
    "Encounter": Removal.ENTERED_IN_ERROR,
}


def mappings(*, marks: bool) -> tuple[Mapping[Any], ...]:
    """The clinic's mappings; ``marks``: removed resources are kept and marked, rooms apart."""
    return tuple(
        replace(each, removal=_MARKS.get(each.resource_type, Removal.DELETE)) if marks else each
        for each in _MAPPINGS
    )


@dataclass(frozen=True)
class Living:
    """A living row, and what the source says beside it."""

    content: dict[str, Any]
    archived: bool = False
    merged_into: str | None = None


def made(stream: str, content: dict[str, Any]) -> tuple[Resource, ...]:
    """What the mapping makes of a row."""
    mapping = next(each for each in _MAPPINGS if each.stream == stream)
    built = mapping.build(mapping.row.model_validate(content))
    if isinstance(built, Skip):
        return ()
    return built.resources if isinstance(built, Related) else (built,)


def marked_as_removed(resource: Resource) -> Resource:
    """What a policy other than deletion leaves of it."""
    if resource["resourceType"] in _HAS_ACTIVE:
        return {**resource, "active": False}
    return {**resource, "status": "entered-in-error"}


def wanted(stream: str, key: str, row: Living) -> dict[str, Resource]:
    """What must be in Medplum of a living row, by token, marks included."""
    return {
        token_of(each["resourceType"], key): _marked(each, row)
        for each in made(stream, row.content)
    }


@dataclass
class World:
    """The living rows as the test knows them, and all that was ever made of each."""

    living: dict[tuple[str, str], Living] = field(default_factory=dict)
    ever: dict[str, list[Resource]] = field(default_factory=dict)

    def put(self, stream: str, key: str, row: Living) -> None:
        """A row comes, comes back or changes."""
        self.living[stream, key] = row
        for name, resource in self.of(stream, key).items():
            self.ever.setdefault(name, []).append(resource)

    def of(self, stream: str, key: str) -> dict[str, Resource]:
        """What must be in Medplum of a row, by token, marks included."""
        row = self.living.get((stream, key))
        if row is None:
            return {}
        return wanted(stream, key, row)

    def all(self) -> Iterator[tuple[tuple[str, str], dict[str, Resource]]]:
        """Each living row, and what must be there of it."""
        for row in self.living:
            yield row, self.of(*row)


def _marked(resource: Resource, row: Living) -> Resource:
    kind = resource["resourceType"]
    away = row.archived or row.merged_into is not None
    marked = {**resource, "active": False} if away and kind in _HAS_ACTIVE else resource
    if row.merged_into is None or kind != "Patient":
        return marked
    other = {"other": reference("Patient", row.merged_into), "type": "replaced-by"}
    return {**marked, "link": [other]}
