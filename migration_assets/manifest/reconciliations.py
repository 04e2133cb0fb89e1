"""Reconciliations as evidence: what was asked, what it cost, what was found.

Belongs here: keeping and paging findings, and reading what the account says of resources, both in
transactions of a page each. Does not belong here: asking Medplum, or what counts as a finding
(``reconciliation``). Findings name keys, ids and element paths, never what an element holds.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from migration_assets.manifest.inventories import Named, references_of
from migration_assets.manifest.reconciliation_tables import findings, reconciliations
from migration_assets.manifest.records import chunked, from_micros, to_micros
from migration_assets.manifest.repairs import reopen_missing, version_we_wrote
from migration_assets.manifest.schema import targets, units


@dataclass(frozen=True)
class Finding:
    """One thing that does not agree.

    ``kind`` and ``reason`` are codes of ``reconciliation.findings``; ``path`` is an element path.
    Of a reference, ``expected`` and ``found`` are ``Type/id``.
    """

    kind: str
    token: str
    reason: str = ""
    fhir_id: str = ""
    path: str = ""
    expected: str = ""
    found: str = ""
    unit_id: int | None = None
    id: int = 0

    @property
    def key(self) -> str:
        """The source's key, or whatever stands in the identifier."""
        return self.token.split("|", 2)[-1]


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """One comparison of the account with Medplum, kept as evidence.

    ``checked`` is identifiers, content or references; ``scope`` says which cohort or sample;
    ``counts`` are findings by kind; ``notes`` numbers that are no findings.
    """

    id: int
    resource_type: str
    checked: str
    scope: Mapping[str, Any]
    query: str
    mapping_version: str | None
    started_at: datetime
    finished_at: datetime | None = None
    searches: int = 0
    points: int = 0
    expected: int = 0
    found: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether it came to its end and found nothing."""
        return self.finished_at is not None and not any(self.counts.values())

    @property
    def points_per_resource(self) -> float:
        """Quota points per resource looked at."""
        return self.points / max(1, self.expected, self.found)


@dataclass(frozen=True)
class Held:
    """What the account says of one resource; ``changed_at`` is the row's change time.

    ``unsettled``: a write or deletion of it is under way, or was cut off; nothing can be said.
    """

    id: int
    unit_id: int
    token: str
    fhir_id: str | None
    version_id: str | None
    deleted: bool
    unsettled: bool
    stream: str
    key: str
    changed_at: datetime | None

    @property
    def live(self) -> bool:
        """Whether Medplum is said to hold it."""
        return self.fhir_id is not None and not self.deleted


class Reconciliations:
    """Evidence kept and read; each method is one transaction."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[sa.Connection]],
        read: Callable[[], AbstractContextManager[sa.Connection]],
    ) -> None:
        """``read`` begins transactions that change nothing."""
        self._begin = begin
        self._reading = read

    # -- what is on account -------------------------------------------------------------------

    def held(self, tokens: Iterable[str]) -> dict[str, Held]:
        """What is on account of these, by token; deleted and intended ones too."""
        found: dict[str, Held] = {}
        with self._reading() as connection:
            for part in chunked(tokens):
                for row in connection.execute(_query().where(targets.c.token.in_(part))):
                    found[row.token] = _held(row)
        return found

    def on_account(
        self,
        resource_type: str,
        *,
        after_id: int = 0,
        limit: int = 1_000,
        stream: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        written_since: datetime | None = None,
        deleted: bool = False,
    ) -> list[Held]:
        """The next resources of a type that Medplum is said to hold, or no longer to hold.

        ``since`` and ``until`` bound the row's change time, half-open; ``written_since`` leaves out
        what Medplum last confirmed to us before.
        """
        query = _query().where(
            targets.c.resource_type == resource_type,
            targets.c.id > after_id,
            targets.c.deleted.is_(deleted),
        )
        if not deleted:
            query = query.where(targets.c.fhir_id.is_not(None))
        if stream is not None:
            query = query.where(units.c.stream == stream)
        if since is not None:
            query = query.where(units.c.changed_at >= to_micros(since))
        if until is not None:
            query = query.where(units.c.changed_at < to_micros(until))
        if written_since is not None:
            query = query.where(targets.c.confirmed_at >= to_micros(written_since))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(targets.c.id).limit(limit))
            return [_held(row) for row in rows]

    def delivered_references(self, numbers: Iterable[int]) -> dict[int, Named]:
        """What resources were delivered with, by the account's number, as far as it is known."""
        with self._reading() as connection:
            return references_of(connection, numbers)

    def named_by(self, tokens: Iterable[str]) -> dict[str, set[str]]:
        """Tokens that these were delivered with references to, by token."""
        held = self.held(tokens)
        known = self.delivered_references(each.id for each in held.values())
        return {
            name: {target for _path, target in known.get(each.id, ())}
            for name, each in held.items()
        }

    # -- evidence -----------------------------------------------------------------------------

    def begin(self, started: Reconciliation) -> int:
        """Write down that a comparison began; returns its number. ``started.id`` is ignored."""
        values = {
            "resource_type": started.resource_type,
            "checked": started.checked,
            "scope": _text(started.scope),
            "query": started.query,
            "mapping_version": started.mapping_version,
            "started_at": to_micros(started.started_at),
        }
        with self._begin() as connection:
            key = connection.execute(sa.insert(reconciliations).values(**values))
            made = key.inserted_primary_key
        return int(made[0]) if made else 0

    def note(self, number: int, found: Iterable[Finding]) -> None:
        """Keep findings; what was found before, twice in a walk, is kept once."""
        rows = [{"reconciliation_id": number, **_columns(each)} for each in found]
        if rows:
            with self._begin() as connection:
                dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
                connection.execute(dialect.insert(findings).on_conflict_do_nothing(), rows)

    def finish(self, ended: Reconciliation) -> Reconciliation:
        """Write down how it ended; returns it with its findings counted."""
        counts = self._counts(ended.id)
        values = {
            "finished_at": None if ended.finished_at is None else to_micros(ended.finished_at),
            "searches": ended.searches,
            "points": ended.points,
            "expected": ended.expected,
            "found": ended.found,
            "counts": _text(counts),
            "notes": _text(ended.notes),
        }
        table = reconciliations
        with self._begin() as connection:
            connection.execute(sa.update(table).where(table.c.id == ended.id).values(**values))
            row = connection.execute(sa.select(table).where(table.c.id == ended.id)).one()
        return _reconciliation(row)

    def latest(
        self, *, limit: int = 20, resource_type: str | None = None, checked: str | None = None
    ) -> list[Reconciliation]:
        """The latest comparisons, newest first, those that were cut off too."""
        query = sa.select(reconciliations).order_by(reconciliations.c.id.desc()).limit(limit)
        if resource_type is not None:
            query = query.where(reconciliations.c.resource_type == resource_type)
        if checked is not None:
            query = query.where(reconciliations.c.checked == checked)
        with self._reading() as connection:
            return [_reconciliation(row) for row in connection.execute(query)]

    def findings(
        self, number: int, *, kind: str | None = None, after_id: int = 0, limit: int = 500
    ) -> list[Finding]:
        """The next findings of a comparison."""
        query = sa.select(findings).where(
            findings.c.reconciliation_id == number, findings.c.id > after_id
        )
        if kind is not None:
            query = query.where(findings.c.kind == kind)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(findings.c.id).limit(limit))
            return [_finding(row) for row in rows]

    # -- repairs ------------------------------------------------------------------------------

    def reopen_missing(self, missing: Iterable[tuple[str, str]]) -> list[tuple[int, str]]:
        """Make units pending whose resources (token, id) are gone; unit and key of each."""
        with self._begin() as connection:
            return reopen_missing(connection, missing)

    def version_we_wrote(self, name: str, fhir_id: str) -> str | None:
        """The last version of a resource that an attempt of ours made, if one created it."""
        with self._reading() as connection:
            return version_we_wrote(connection, name, fhir_id)

    def _counts(self, number: int) -> dict[str, int]:
        query = (
            sa.select(findings.c.kind, sa.func.count().label("n"))
            .where(findings.c.reconciliation_id == number)
            .group_by(findings.c.kind)
            .order_by(findings.c.kind)
        )
        with self._reading() as connection:
            return {row.kind: row.n for row in connection.execute(query)}


def _query() -> sa.Select[Any]:
    return sa.select(targets, units.c.stream, units.c.key, units.c.changed_at).select_from(
        targets.join(units, units.c.id == targets.c.unit_id)
    )


def _held(row: Any) -> Held:
    return Held(
        row.id,
        row.unit_id,
        row.token,
        row.fhir_id,
        row.version_id,
        row.deleted,
        (row.fhir_id is None and not row.deleted) or row.sent is not None,
        row.stream,
        row.key,
        None if row.changed_at is None else from_micros(row.changed_at),
    )


def _columns(finding: Finding) -> dict[str, Any]:
    named = (finding.kind, finding.token, finding.fhir_id, finding.path)
    once = hashlib.blake2b("\0".join(named).encode(errors="replace"), digest_size=16).digest()
    return {
        "once": once,
        "kind": finding.kind,
        "reason": finding.reason,
        "token": finding.token,
        "fhir_id": finding.fhir_id,
        "path": finding.path,
        "expected": finding.expected,
        "found": finding.found,
        "unit_id": finding.unit_id,
    }


def _finding(row: Any) -> Finding:
    return Finding(
        row.kind, row.token, row.reason, row.fhir_id, row.path, row.expected, row.found,
        row.unit_id, row.id,
    )  # fmt: skip


def _reconciliation(row: Any) -> Reconciliation:
    return Reconciliation(
        id=row.id,
        resource_type=row.resource_type,
        checked=row.checked,
        scope=orjson.loads(row.scope),
        query=row.query,
        mapping_version=row.mapping_version,
        started_at=from_micros(row.started_at),
        finished_at=None if row.finished_at is None else from_micros(row.finished_at),
        searches=row.searches or 0,
        points=row.points or 0,
        expected=row.expected or 0,
        found=row.found or 0,
        counts=orjson.loads(row.counts or "{}"),
        notes=orjson.loads(row.notes or "{}"),
    )


def _text(value: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(value), option=orjson.OPT_SORT_KEYS).decode()
