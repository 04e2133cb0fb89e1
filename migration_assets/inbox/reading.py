"""From what a service sent to an event: rows of a stream, read as the puller reads them.

Belongs here: which streams there are, what a body must be, and what is refused with which status.
Does not belong here: HTTP (``app``), or landing (``manifest``). A refusal says what to do, and
nothing of what was sent.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from migration_assets.errors import Quarantine
from migration_assets.fhir.sent import changed_at, sent_at, sent_key, sent_stream
from migration_assets.legacy import PulledRow, Source, Stream
from migration_assets.legacy.body import parse
from migration_assets.legacy.failures import BodyRefusedError
from migration_assets.legacy.pull import time_slack
from migration_assets.legacy.rows import RowReader, row_reader
from migration_assets.manifest.inbox import Event
from migration_assets.mapping import Mapping

MOST_ROWS = 1_000
"""Rows of one event: they land in one transaction."""
_AHEAD = timedelta(minutes=15)  # as far as a clock may run ahead of ours when a pulled row lands
_UNREADABLE = "change-time-unreadable"


class RefusedEvent(Exception):
    """An event that was not taken: the status, and a sentence that holds nothing of it."""

    def __init__(self, status: HTTPStatus, said: str) -> None:
        super().__init__(said)
        self.status = status
        self.said = said


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What a service sent: ``modified`` is the header Last-Modified, if there was one."""

    service: str
    key: str
    body: bytes
    deleted: bool = False
    modified: str | None = None


@dataclass(frozen=True)
class _Native:
    reader: RowReader
    stream: Stream
    slack: timedelta


class Reading:
    """Reads events of the streams that a source and its mappings have."""

    def __init__(
        self,
        source: Source,
        mappings: Iterable[Mapping[Any]],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._clock = clock
        listed = list(mappings)
        described = (source.stream(each.stream) for each in listed)
        self._native = {
            each.name: _Native(row_reader(each), each, time_slack(each)) for each in described
        }
        self.heads: MappingOf[str, str] = {
            **{each.stream: each.resource_type for each in listed},
            **{sent_stream(kind): each.resource_type for each in listed for kind in each.types},
        }
        """The type whose phase counts, by stream."""

    @property
    def streams(self) -> Sequence[str]:
        """Everything that can be sent."""
        return [*self._native, *(each for each in self.heads if each not in self._native)]

    def native(self, stream: str, sent: Sending) -> tuple[Event, list[PulledRow]]:
        """An event of rows as the legacy system has them.

        Raises:
            RefusedEvent: there is no such stream, or the body is not rows of it.
        """
        known = self._native.get(stream)
        if known is None:
            raise RefusedEvent(
                HTTPStatus.NOT_FOUND,
                "No mapping takes rows of a stream of that name from this source.",
            )
        value, flawed = _parsed(sent.body)
        listed = value if isinstance(value, list) else [value]
        if not listed or not all(isinstance(each, dict) for each in listed):
            raise RefusedEvent(
                HTTPStatus.BAD_REQUEST, "Send a row as a JSON object, or an array of such objects."
            )
        if len(listed) > MOST_ROWS:
            raise RefusedEvent(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"One event holds {MOST_ROWS:,} rows at most: send several.",
            )
        told = self._told(sent)
        rows = [
            self._row(known, known.reader(each, flawed=flawed), told, deleted=sent.deleted)
            for each in listed
        ]
        return _event(stream, sent, known.slack), rows

    def fhir(self, kind: str, sent: Sending) -> tuple[Event, list[PulledRow]]:
        """An event of one FHIR resource.

        Raises:
            RefusedEvent: no mapping makes that type, or the resource does not say what it is, whose
                it is and when it changed.
        """
        stream = sent_stream(kind)
        if stream not in self.heads:
            raise RefusedEvent(HTTPStatus.NOT_FOUND, "No mapping makes resources of that type.")
        value, flawed = _parsed(sent.body)
        if flawed:
            raise RefusedEvent(
                HTTPStatus.BAD_REQUEST, "The body is not strict JSON in UTF-8: it would be altered."
            )
        if not isinstance(value, dict):
            raise RefusedEvent(HTTPStatus.BAD_REQUEST, "Send one FHIR resource as a JSON object.")
        if value.get("resourceType") != kind:
            raise _unprocessable(f"resourceType is not {kind}: send it to the address of its type.")
        try:
            key = sent_key(value, kind)
        except Quarantine as error:
            raise _unprocessable(
                f"The resource cannot be found again ({error.reason} at {error.field}): give it "
                "one identifier of the source, as the type's mapping does, without blanks around."
            ) from None
        moment = self._told(sent) or sent_at(value)
        if moment is None:
            raise _unprocessable(
                "The resource does not say when it changed: send meta.lastUpdated, an instant with "
                "its zone, or the header Last-Modified. The order of arrival is not the order of "
                "changes."
            )
        self._refuse_future(moment)
        row = PulledRow(key, changed_at(value, moment), moment, deleted=sent.deleted, problem=None)
        return _event(stream, sent, timedelta(0)), [row]

    def _told(self, sent: Sending) -> datetime | None:
        """What Last-Modified says."""
        if sent.modified is None:
            return None
        moment = _moment(sent.modified)
        if moment is None:
            raise RefusedEvent(
                HTTPStatus.BAD_REQUEST,
                "Last-Modified cannot be read: send an HTTP date, or an ISO 8601 instant with its "
                "zone.",
            )
        self._refuse_future(moment)
        return moment

    def _refuse_future(self, moment: datetime) -> None:
        if moment > self._clock() + _AHEAD:
            raise _unprocessable(
                "The event is dated in the future, and would count as the newest until then: mend "
                "the service's clock or its zone."
            )

    def _row(
        self, known: _Native, row: PulledRow, told: datetime | None, *, deleted: bool
    ) -> PulledRow:
        """A row with the change time that was told, where it says none itself."""
        if row.changed_at is None and told is not None:
            problem = None if row.problem == _UNREADABLE else row.problem
            row = replace(row, changed_at=told, problem=problem)
        if deleted:
            # A key alone ends the version that is on account, whenever that was.
            problem = None if row.problem == _UNREADABLE else row.problem
            return replace(row, deleted=True, problem=problem)
        if row.problem == _UNREADABLE:
            cursor = known.stream.cursor
            raise _unprocessable(
                "A row does not say when it changed: send the whole row, with "
                f"{cursor.field if cursor else 'its change time'} as the legacy API has it, or the "
                "header Last-Modified."
            )
        return row


def _event(stream: str, sent: Sending, slack: timedelta) -> Event:
    said = "deleted" if sent.deleted else "", sent.modified or ""
    content = b"\0".join((*(each.encode("utf-8", "replace") for each in said), sent.body))
    return Event(service=sent.service, key=sent.key, stream=stream, content=content, slack=slack)


def _parsed(body: bytes) -> tuple[Any, bool]:
    try:
        parsed = parse(bytearray(body))
    except BodyRefusedError:
        raise RefusedEvent(
            HTTPStatus.BAD_REQUEST, "The body is not JSON that can be kept."
        ) from None
    return parsed.value, parsed.flawed


def _moment(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text.strip())
            return None if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _unprocessable(said: str) -> RefusedEvent:
    return RefusedEvent(HTTPStatus.UNPROCESSABLE_ENTITY, said)
