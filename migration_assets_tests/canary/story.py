"""What is done while the canaries are watched: all that goes well, and all that can go wrong."""

import contextlib
from collections.abc import Iterator
from typing import Any

from migration_assets.mappings import discover
from migration_assets_tests.canary.people import NAME, NOTE, OUTCOME, PEOPLE, REFUSALS, TEXT
from migration_assets_tests.canary.world import World
from migration_assets_tests.inbox.door import door
from migration_assets_tests.medplum.scripted_server import Said

REASONS = frozenset(
    {
        "awaiting-reference", "change-time-unreadable", "control-character", "duplicate-key",
        "id-missing", "invalid-utf8", "mapping-error", "row-string-type", "unmapped-code",
        "unreadable-date", "unreadable-time",
    }
)  # fmt: skip
"""Quarantines that these rows must meet, or nothing was tried."""

_CLINIC = {"system": "http://your-source-system.com/organizationId", "value": "O1"}


def migrated(world: World) -> None:
    """Backfill, incremental, sweep, remap; rows of all kinds are quarantined."""
    world.run()
    world.job("incremental_pull")
    world.run("Patient", sweep=True)
    world.run("Patient", remap=True)
    world.ticks()
    world.schedules()


def at_the_terminal(world: World) -> None:
    """Every verb a person has; ``preview`` and ``--show-values`` are there to show rows."""
    out = world.folder / "reports"
    for words in (
        ("status",), ("status", "--json"), ("exceptions",), ("exceptions", "P3"),
        ("exceptions", "--reason", "mapping-error"), ("exceptions", "--probable-duplicates"),
        ("check",), ("check", "patients"),
        ("profile", "patients", "--out", str(out)), ("profile", "patients", "--json"),
        ("register", "--out", str(out / "register.html")),
        ("register", "--out", str(out / "register.json")), ("register",),
        ("rehearse",), ("rehearse", "Patient", "--live"), ("rehearse", "Patient", "--json"),
        ("reconcile", "Patient"), ("reconcile", "--list"), ("reconcile", "Patient", "--deep"),
        ("reconcile", "Patient", "--json"),
        ("assign", "P3", "--owner", "Ada"), ("redeliver", "P3"),
        ("redeliver", "--believe", "P9"), ("redeliver", "--reason", "unmapped-code", "--dry-run"),
        ("undo", "--list"), ("undo", "2"), ("remap", "Patient"),
        ("sweep",), ("quota",), ("seal",), ("purge",), ("purge", "--yes"), ("resume", "Patient"),
    ):  # fmt: skip
        world.say(*words)


def quoted_by_the_legacy_api(world: World) -> None:
    """Errors whose body, address or headers hold a person."""
    for wrong in REFUSALS:
        world.source.wrong = wrong
        world.say("rehearse", "Patient", "--live")
    world.source.wrong = REFUSALS[0]
    world.run("Patient")
    world.ticks()
    world.source.wrong = REFUSALS[1]
    world.run("Patient")
    for words in (("sweep", "Patient"), ("check", "patients"), ("profile", "patients", "--live")):
        world.say(*words)
    world.source.wrong = None


def _found(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"resource": each, "search": {"mode": "match"}} for each in resources]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries}


def quoted_by_medplum(world: World) -> None:
    """OperationOutcomes that say whom they are about."""
    refused = {"response": {"status": "400", "outcome": OUTCOME}}
    answers = (
        Said(400, OUTCOME),
        Said(500, {"error": NAME}),
        Said(200, {"resourceType": "Bundle", "type": "batch-response", "entry": [refused]}),
        Said(200, f"<html>{NAME}</html>".encode()),
    )
    world.monkeypatch.setenv("MEDPLUM_BASE_URL", world.script.base_url)
    held = {"resourceType": "Organization", "id": "o-1", "identifier": [_CLINIC]}
    world.script.say("/fhir/R4/Organization", Said(200, _found(held)))
    world.script.say("/fhir/R4/Patient", Said(200, _found()))
    for said in answers:
        world.script.say("/fhir/R4", said)
        world.source.edition += 1
        world.run("Patient")
    for path in ("", "/Organization", "/Patient"):
        world.script.say(f"/fhir/R4{path}", Said(403, OUTCOME))  # for good: others are waited for
    for words in (
        ("undo", "1", "--yes"),
        ("reconcile", "Patient"),
        ("redeliver", "P1"),
        ("quota",),
    ):
        world.say(*words)
    world.monkeypatch.setenv("MEDPLUM_BASE_URL", world.sandbox.base_url)


def unforeseen(world: World) -> None:
    """What nobody foresaw says what it has in hand."""

    def trip(*_args: Any, **_options: Any) -> Any:
        raise RuntimeError(f"unforeseen: {TEXT}")

    @contextlib.contextmanager
    def tripping(*names: str) -> Iterator[None]:
        with world.monkeypatch.context() as broken:
            for name in names:
                broken.setattr(name, trip)
            yield

    account = "migration_assets.manifest.Manifest"
    with tripping(f"{account}.high_water_mark"):
        world.run("Patient")
        world.ticks()
    world.source.edition += 1
    with tripping(f"{account}.settle"):
        world.run("Patient")
    with tripping(f"{account}.balances"):
        world.say("status")
    with tripping("migration_assets.defs.purging.purge"):
        world.job("retention_purge")
    with tripping(
        "migration_assets.defs.freshness.freshness",
        "migration_assets.defs.reconciling._Asking.claims",
    ):
        world.ticks()
        world.job("reconcile")


def sent_by_services(world: World) -> None:
    """Events of every kind, well and badly made, into a real inbox; and what looks at them."""
    connections = world.connections
    row = {**PEOPLE[0], "updated_at": "2026-11-03T00:00:00Z"}
    name = {"resourceType": "Patient", "name": [{"family": NAME}], "note": NOTE}
    number = {"system": "http://your-source-system.com/patientId", "value": "P1"}
    sent = {**name, "identifier": [number], "meta": {"lastUpdated": "2026-11-04T00:00:00Z"}}
    with (
        connections.manifest() as manifest,
        door(
            manifest,
            clock=connections.clock,
            source=connections.source(),
            mappings=tuple(discover(world.folder / "mappings").values()),
        ) as inbox,
    ):
        events: tuple[tuple[str, Any], ...] = (
            ("/events/patients", row),
            ("/events/patients?deleted=true", row),
            ("/events/patients", {**row, "updated_at": NAME}),
            ("/events/patients", f"{{{NAME}".encode()),
            ("/events/" + NAME, row),
            ("/fhir/Patient", sent),
            ("/fhir/Patient", name),
            ("/fhir/Patient", {**sent, "resourceType": NAME}),
        )
        for place, (path, body) in enumerate(events):
            told = inbox.send(path, body, key=str(place))
            world.tell(f"inbox {told.status}", (told.body, told.headers))
        with world.monkeypatch.context() as broken:
            broken.setattr(manifest.inbox, "accept", _trip)
            world.tell("inbox", inbox.send("/fhir/Patient", sent, key="trip").body)
    world.ticks()
    world.job("inbox")
    for words in (("audit", "Patient"), ("audit", "Patient", "--json"), ("status",)):
        world.say(*words)
    with world.monkeypatch.context() as broken:
        broken.setattr("migration_assets.defs.inbox.deliver_events", _trip)
        broken.setattr("migration_assets.defs.inbox.due", _trip)
        world.job("inbox")
        world.ticks()


def _trip(*_args: Any, **_options: Any) -> Any:
    raise RuntimeError(f"unforeseen: {TEXT}")


def cut_over(world: World) -> None:
    """A cutover up to its signature, by hand and as a job, well and badly; then it is aborted."""
    path = world.folder / "adoption.toml"
    before = path.read_text()
    path.write_text(before.replace("backfill", "read"))
    config = {"freeze": {"config": {"by": "ada"}}}
    for words in (
        ("cutover", "Patient"),
        ("cutover", "Patient", "--owner", "Ada"),
        ("cutover", "Patient", "--json"),
        ("cutover",),
    ):
        world.say(*words)
    world.job("cutover", ops=config)
    with world.monkeypatch.context() as broken:
        broken.setattr("migration_assets.defs.cutovers.advance", _trip)
        world.job("cutover", ops=config)
    world.say("cutover", "Patient", "--abort", "--reason", "tried")
    path.write_text(before)


def taken_back(world: World) -> None:
    """What was written is undone, which leaves nothing to deliver: so it comes last."""
    world.say("undo", "2", "--yes")


STORY = (
    migrated,
    at_the_terminal,
    quoted_by_the_legacy_api,
    quoted_by_medplum,
    unforeseen,
    sent_by_services,
    cut_over,
    taken_back,
)
