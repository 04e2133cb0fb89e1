"""A FHIR server that searches any number of patients and holds none of them in memory.

Patient ``n`` has the key ``K<n>`` and the id ``n``; all but every thousandth are there, written two
a millisecond, each of one of the organizations. It answers the searches of a comparison: everything
by ``_lastUpdated`` with an offset within an instant, some identifiers, some ids.

Belongs here: answering. Does not belong here: what is compared.
"""

import json
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

from migration_assets.fhir.identifiers import identifier_system

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
AN_INSTANT = 2
"""Patients that were written in the same millisecond."""
GONE = 1_000
HOUSES = 600
"""Organizations: fewer than one search takes."""


def fhir_id(number: int) -> str:
    """The id of a patient."""
    return str(uuid.UUID(int=number))


def house_id(number: int) -> str:
    """The id of the organization that a patient is of."""
    return str(uuid.UUID(int=10**12 + number % HOUSES))


def there(number: int) -> bool:
    """Whether a patient of the account is in Medplum."""
    return number % GONE != GONE - 1


def patient(number: int) -> dict[str, Any]:
    """One patient as a search finds it."""
    moment = BEGAN + timedelta(milliseconds=number // AN_INSTANT)
    system = identifier_system("Patient")
    return {
        "resourceType": "Patient",
        "id": fhir_id(number),
        "meta": {
            "versionId": "1",
            "lastUpdated": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z",
        },
        "identifier": [{"system": system, "value": f"K{number}"}],
        "managingOrganization": {"reference": f"Organization/{house_id(number)}"},
    }


def _numbers(size: int, form: dict[str, str]) -> Iterator[int]:
    asked = form.get("identifier", "")
    if "_id" in form:
        return (uuid.UUID(each).int for each in form["_id"].split(","))
    if not asked.endswith("|"):
        return (int(each.rpartition("|K")[2]) for each in asked.split(",") if "|K" in each)
    first, since = 0, form.get("_lastUpdated", "").removeprefix("ge")
    if since:
        passed = datetime.fromisoformat(since) - BEGAN
        first = passed // timedelta(milliseconds=1) * AN_INSTANT
    return islice(filter(there, range(first, size)), int(form.get("_offset", 0)), None)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    size = 0

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = {name: each[0] for name, each in parse_qs(self.rfile.read(length).decode()).items()}
        kind = self.path.split("/")[-2]
        most = int(form.get("_count", 20))
        if kind == "Patient":
            known = (each for each in _numbers(self.size, form) if 0 <= each < self.size)
            found = [patient(each) for each in islice(filter(there, known), most)]
        else:
            found = [{"resourceType": kind, "id": each} for each in form.get("_id", "").split(",")]
        body = json.dumps({"resourceType": "Bundle", "entry": [{"resource": e} for e in found]})
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def main(size: int) -> None:
    """Serve until killed; the port is printed first."""
    _Answers.size = size
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    print(server.server_port, flush=True)  # noqa: T201 - read by the parent
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
