"""Invented people with canaries, and a source that quotes them wherever a source can.

Keys are no canaries: they are logged, on purpose (design.md §8).
"""

import json
from typing import Any

from migration_assets_tests.legacy.legacy_server import Asked, Reply, json_reply

NAME, NUMBER, PHONE, STREET, NOTE = (
    "Kanarienvogel", "CNRY4711", "555CANARY0177", "Canarywharflane", "Kanarienotiz"
)  # fmt: skip
CANARIES = (NAME, NUMBER, PHONE, STREET, NOTE)
CHANGED = "2026-11-02T00:00:00Z"
DESCRIPTION = """
name: canary-clinic
base_url: {env: MIGRATION_LEGACY_URL}
http: {attempts: 2}
defaults:
  path: api/{stream}
  select: rows
  id: id
  pager: {type: next_url, path: next, keyset: true}
  cursor: {field: updated_at, param: since, until_param: until, until_inclusive: false,
           lookback_seconds: 60}
  tombstone: {path: deleted_at}
streams:
  - {name: patients, id: patient_id}
  - {name: organizations, id: organization_id}
  - {name: rooms}
"""
TRIPPING = '''"""Rows that trip their mapping, which quotes them when it falls."""
from migration_assets.fhir.elements import resource
from migration_assets.fhir.identifiers import identifier
from migration_assets.mapping import Mapping, Resource, Row, Step


class Room(Row):
    """A room, named after somebody."""

    id: str
    name: str | None = None


def location(row: Room) -> Resource:
    """Fall over the ones that are named."""
    if row.name != "plain":
        raise RuntimeError(f"cannot map {row!r}")
    return resource(
        "Location", "rooms", identifier=[identifier("Location", row.id, "id")], name=row.name
    )


MAPPING = Mapping(stream="rooms", row=Room, resource_type="Location", build=location,
    version="1.0.0", step=Step.ORGANIZATIONS, examples=({"id": "R1", "name": "plain"},))
'''
TEXT = f"no such person: {NAME} {PHONE} {NOTE}"


def person(key: str | None, **wrong: Any) -> dict[str, Any]:
    """A patient's row that is all canaries, with what is ``wrong`` with it."""
    whole = {
        "patient_id": key,
        "first_name": NAME,
        "last_name": f"{NAME}{key}",
        "phone": PHONE,
        "address_line": f"{STREET} 9",
        "note": NOTE,
        "ssn": NUMBER,
        "gender": "F",
        "organization_id": "O1",
        "updated_at": CHANGED,
    }
    return whole | wrong


PEOPLE = (
    person("P1"),
    person("P2"),
    person("P3", gender=NAME),  # a code no map has
    person("P4", birth_date=NOTE),
    person("P5", deceased_at=f"2023-11-02T04:15:00 {NAME}"),
    person("P6", last_name={"nested": NAME}),  # not what the row model reads
    person("P7", organization_id="O-missing"),  # awaits what never comes
    person("P8", updated_at=NAME),
    person(None),  # without a key
    person("P9"),
    person("P9", last_name=f"{NAME}-other"),  # collides
    person("P10", email=f"{NAME}\ud800@x.example"),  # broken UTF-8
    person("P11", phone=f"{PHONE}\x00"),
    person("P12", deleted_at=NAME),
)


class Source:
    """Serves the rows, or what is wrong just now; its links quote people."""

    def __init__(self) -> None:
        self.wrong: Reply | None = None
        self.edition = 0
        """Goes up for rows that differ from the ones before: they are written again."""

    def serve(self, asked: Asked) -> Reply:
        """A page of a stream."""
        if self.wrong is not None:
            return self.wrong
        stream = asked.path.rsplit("/", 1)[-1]
        rows: dict[str, list[dict[str, Any]]] = {
            "patients": [each | {"address_line": f"{STREET} {self.edition}"} for each in PEOPLE],
            "organizations": [{"organization_id": "O1", "name": "Clinic"}],
            "rooms": [{"id": "R1", "name": NAME}, {"id": "R2", "name": "plain"}],
        }
        found = [{"updated_at": CHANGED, **each} for each in rows.get(stream, [])]
        half = len(found) // 2
        if asked.one("after"):
            return _page({"rows": found[half:]})
        host = asked.headers["Host"]
        following = f"http://{host}{asked.path}?after={NAME}&phone={PHONE}"
        return _page({"rows": found[:half], "next": following})


def _page(body: Any) -> Reply:
    # Not by orjson, which refuses the broken UTF-8 that a source may well send.
    return Reply(json.dumps(body).encode(), headers={"Content-Type": "application/json"})


REFUSALS = (
    json_reply({"error": TEXT, "name": NAME}, 500),
    json_reply({"error": TEXT}, 403),
    Reply(f"<html>{TEXT}</html>".encode(), headers={"Content-Type": "text/html"}),
    Reply(f'{{"rows": [{{"name": "{NAME}"'.encode()),
    Reply(b"", 302, {"Location": f"/login?name={NAME}"}),
    json_reply({"rows": [], "next": f"http://elsewhere.example/?name={NAME}"}),
    json_reply({"rows": NAME}),
    json_reply({NAME: []}),
    Reply(b"{}", headers={"Connection": "close", "X-Who": f"x\r\nno header of {NAME} {PHONE}"}),
)
"""Answers of a legacy API whose body, address or headers hold a person."""
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [
        {
            "severity": "error",
            "code": "invalid",
            "details": {"text": f"Bad {NAME}"},
            "diagnostics": TEXT,
            "expression": [f"Patient.where(name='{NAME}')"],
        }
    ],
}
"""A Medplum that says whom it refuses."""
