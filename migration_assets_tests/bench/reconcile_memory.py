"""The memory a comparison takes; ``… reconcile_memory 1000000`` measures a million resources.

An account of so many patients that the database makes itself, and a server that pages through them.

Belongs here: one comparison of identifiers and one of references, in this process. Does not belong
here: how little is enough.
"""

import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, token
from migration_assets.medplum import MedplumClient
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.referenced import check_references
from migration_assets_tests.bench.own_process import peak_mb, tell
from migration_assets_tests.bench.paging_stub import HOUSES, fhir_id, house_id
from migration_assets_tests.scripted import PATIENTS

_AT_ONCE = 50_000
_STUB = "migration_assets_tests.bench.paging_stub"


def _fill(path: Path, size: int) -> None:
    """Patients of some organizations, delivered once: units, targets and their references."""
    system, houses = identifier_system("Patient"), identifier_system("Organization")
    names = [token("Organization", houses, f"H{n}") for n in range(HOUSES)]
    named = [orjson.dumps([["Patient.managingOrganization", each]]).decode() for each in names]
    with sqlite3.connect(path) as database:
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (name,) in database.execute(triggers).fetchall():
            database.execute(f"DROP TRIGGER {name}")  # the tallies are not asked here
        unit = (
            "INSERT INTO units (id, stream, key, state, revision, row_hash, payload, deleted,"
            " landed_at, seen_run) VALUES (?, ?, ?, 'migrated', 1, x'00', x'', 0, 1, 1)"
        )
        target = (
            "INSERT INTO targets (id, unit_id, resource_type, token, fhir_id, version_id,"
            " fingerprint, deleted, confirmed_at) VALUES (?, ?, ?, ?, ?, '1', 'x', 0, 1)"
        )
        for n, name in enumerate(names):
            last = size + 1 + n
            database.execute(unit, (last, "organizations", f"H{n}"))
            database.execute(target, (last, last, "Organization", name, house_id(n)))
        for first in range(0, size, _AT_ONCE):
            part = range(first, min(size, first + _AT_ONCE))
            database.executemany(unit, ((n + 1, "patients", f"K{n}") for n in part))
            database.executemany(
                target,
                (
                    (n + 1, n + 1, "Patient", token("Patient", system, f"K{n}"), fhir_id(n))
                    for n in part
                ),
            )
            database.executemany(
                "INSERT INTO delivered_references VALUES (?, ?)",
                ((n + 1, named[n % HOUSES]) for n in part),
            )


def measured(size: int) -> dict[str, Any]:
    """What comparing so many patients finds, costs and takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.db"
        manifest = Manifest(f"sqlite:///{path}", clock=lambda: datetime.now(UTC))
        _fill(path, size)
        command = [sys.executable, "-m", _STUB, str(size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stub:
            try:
                port = stub.stdout.readline().strip() if stub.stdout else ""
                client = MedplumClient(
                    f"http://127.0.0.1:{port}/", "x", SecretStr("x"), auth="basic"
                )
                peaks: list[tuple[int, float]] = []

                def watched(resources: int) -> None:
                    read = resources + (peaks[-1][0] if peaks else 0)
                    peaks.append((read, round(peak_mb(), 1)))

                asker = Asker(client, watched=watched)
                began = time.monotonic()
                held = compare(manifest, asker, PATIENTS, clock=lambda: datetime.now(UTC))
                between = time.monotonic()
                named = check_references(manifest, asker, PATIENTS, clock=lambda: datetime.now(UTC))
                ended = time.monotonic()
                client.close()
            finally:
                stub.kill()
        manifest.close()
    return {
        "resources": size,
        "peaks": peaks if size < _AT_ONCE else peaks[:: len(peaks) // 20],
        "peak_mb": round(peak_mb(), 1),
        "found": dict(held.evidence.counts),
        "references": dict(named.evidence.counts),
        "references_looked_at": named.evidence.notes.get("references", 0),
        "points_per_resource": held.evidence.points / size,
        "points_per_resource_references": named.evidence.points / size,
        "resources_per_second": round(size / (between - began)),
        "references_per_second": round(size / (ended - between)),
    }


if __name__ == "__main__":
    tell(measured(int(sys.argv[1])))
