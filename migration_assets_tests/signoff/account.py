"""A small migrated clinic, every value of whose rows holds a word that must not get out.

Belongs here: the rows, and how they came on account. Does not belong here: claims.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Choice, Decision, Manifest, Selection
from migration_assets.mappings import discover
from migration_assets.medplum import MedplumClient
from migration_assets.pipeline import migrate
from migration_assets.reconciliation.comparison import compare
from migration_assets.run import Run
from migration_assets_tests.scripted import ScriptedSource

CANARY = "Kanarienvogel"
SECRET = "invented"
ADOPTION = "".join(
    f'{kind} = "backfill"\n'
    for kind in ("Organization", "Patient", "Encounter", "ClinicalImpression", "Condition")
)
_CHANGED = datetime(2025, 1, 15, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Account:
    """Where it is, and what a command needs to find it."""

    url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The settings of an installation without any Medplum or legacy API."""
        return {
            "MIGRATION_MANIFEST_URL": self.url,
            "MIGRATION_ADOPTION": str(self.folder / "adoption.toml"),
            "MIGRATION_START": "2024-12-01",
        }


def make(folder: Path, sandbox: Sandbox, *, keys: Sequence[str] = ()) -> Account:
    """Eight patients, of whom one has a code nobody mapped, one is purged, and one has visits."""
    account = Account(f"sqlite:///{folder / 'manifest.db'}", folder)
    (folder / "adoption.toml").write_text(ADOPTION, encoding="utf-8")
    manifest = Manifest(account.url, clock=lambda: datetime.now(UTC), keys=keys)
    mappings = discover()
    fhir = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET))
    number = manifest.start_run("backfill", pipeline_version="0")
    run = Run(
        id=number,
        label="backfill",
        manifest=manifest,
        puller=ScriptedSource(),
        adoption=read_adoption(ADOPTION),
        fhir=fhir,
        deadline_seconds=60,
    )
    for kind, rows in _rows().items():
        mapping = mappings[kind]
        pulled = [
            PulledRow(next(iter(row.values())), row, _CHANGED + timedelta(days=20 * n), False, None)
            for n, row in enumerate(rows)
        ]
        manifest.land(mapping.stream, pulled, run_id=number, reopen=True)
        migrate(run, mapping)
    manifest.finish_run(number)
    for kind in ("Organization", "Patient"):
        compare(manifest, fhir, mappings[kind], clock=lambda: datetime.now(UTC))
    manifest.decisions.assign(
        Selection(streams=("patients",), reason="unmapped-code"),
        Decision(
            by="reviewer",
            owner="dr-owner",
            note=f"{CANARY} rang",
            choice=Choice.FIX,
            due=date(2020, 1, 1),
        ),
    )
    fhir.close()
    manifest.close()
    return account


def _rows() -> dict[str, list[dict[str, Any]]]:
    patients = [
        {
            "patient_id": f"{CANARY}-{n}",
            "first_name": f"{CANARY}{'a' * n}",
            "last_name": f"Von{CANARY}",
            "birth_date": f"19{50 + n}-05-0{n + 1}",
            "gender": "F",
            "phone": f"+1 555 {CANARY}",
            "city": CANARY,
            "unknown_field": CANARY,
        }
        for n in range(7)
    ]
    odd = {"patient_id": f"{CANARY}-odd", "last_name": CANARY, "gender": f"{CANARY}-code"}
    visits = [
        {
            "encounter_id": f"{CANARY}-E{n}",
            "patient_id": f"{CANARY}-3",
            "date": f"2024-03-0{n + 1}T10:00:00Z",
            "type": "checkup" if n else CANARY,
            "status": "finished",
            "note": f"{CANARY} was seen <b>here</b>.",
        }
        for n in range(5)
    ]
    return {
        "Organization": [{"organization_id": "O1", "name": CANARY}],
        "Patient": [*patients, odd],
        "Encounter": visits,
    }


@contextmanager
def purged(account: Account) -> Iterator[None]:
    """The account with the rows of its visits purged, as a retention of no days leaves it."""
    file = account.folder / "manifest.db"
    before = file.read_bytes()
    manifest = Manifest(account.url, clock=lambda: datetime.now(UTC))
    custody, purges = manifest.protection.custody, manifest.protection.purges
    number = custody.begin("purged", "0 days", "tester", stream="encounters")
    future = int(datetime.now(UTC).timestamp() + 60) * 1_000_000
    while purges.drop(number, "encounters", settled_before=future, keep_living=False):
        pass
    custody.finish(number)
    purges.finish(release=False)
    manifest.close()
    try:
        yield
    finally:
        for end in ("-wal", "-shm"):
            file.with_name(file.name + end).unlink(missing_ok=True)
        file.write_bytes(before)
