"""What a sign-off report says, as values: the page shows them, and the JSON beside it is them.

Belongs here: shapes. Does not belong here: reading the account. What is None where it could be
text was withheld: the report without patient data has the same shape as the one with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migration_assets.signoff.switched import Switched

FORMAT = 1
"""Grows when something that was there is called otherwise, or is gone."""


@dataclass(frozen=True, kw_only=True)
class TypeLine:
    """The balance of one type; ``within``: its rows are those of another type, counted there.

    ``versions``: rows by the version of the mapping that settled them, "" for none.
    """

    resource_type: str
    within: str | None
    stream: str
    phase: str
    numbers: Mapping[str, int]
    holds: bool
    version: str
    owner: str
    review: str
    versions: Mapping[str, int]
    over_time: tuple[tuple[str, Mapping[str, int]], ...]


@dataclass(frozen=True, kw_only=True)
class SaidLine:
    """What people said of so many rows; ``note`` only with patient data, for it is free text."""

    owner: str | None
    choice: str | None
    approver: str | None
    due: str | None
    overdue: bool
    note: str | None
    count: int


@dataclass(frozen=True, kw_only=True)
class ExceptionLine:
    """Rows of one type that did not arrive for one reason at one field; ``open`` of ``count``."""

    resource_type: str
    state: str
    reason: str
    told: str
    field: str
    count: int
    open: int
    said: tuple[SaidLine, ...]
    unsaid: int
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CodeLine:
    """A code that no table translates, and in how many rows; ``code`` None: withheld."""

    resource_type: str
    field: str
    code: str | None
    count: int


@dataclass(frozen=True, kw_only=True)
class LeftOutLine:
    """A field that the mapping leaves out on purpose, and why."""

    resource_type: str
    field: str
    kind: str
    why: str


@dataclass(frozen=True, kw_only=True)
class StreamLine:
    """How far the reading of one stream got."""

    stream: str
    resource_type: str
    mark: datetime | None
    current_until: datetime | None
    behind_seconds: float | None
    windows: int
    last_window_at: datetime | None
    swept_at: datetime | None
    sweep_verdict: str | None
    sweep_gone: int
    rows: int
    deleted: int
    purged: int
    paused: bool


@dataclass(frozen=True, kw_only=True)
class PauseLine:
    """One time that a stream stood still; ``ended_at`` None: it still does."""

    stream: str
    at: datetime
    failed: int
    seen: int
    ended_at: datetime | None
    ended_by: str | None


@dataclass(frozen=True, kw_only=True)
class ActLine:
    """Rows sealed with a key or purged as a whole."""

    act: str
    stream: str | None
    terms: str
    by: str
    started_at: datetime
    finished: bool
    rows: int


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """One run. ``rows``: whose outcome is from it still; later runs take rows over."""

    id: int
    label: str
    version: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    rows: int
    answers: int
    rows_per_second: float | None


@dataclass(frozen=True, kw_only=True)
class ComparisonLine:
    """The last comparison of a type with Medplum in one respect; None in all: there was none."""

    resource_type: str
    checked: str
    whole: bool
    agrees: bool
    scope: Mapping[str, Any]
    query: str
    mapping_version: str | None
    started_at: datetime
    finished_at: datetime | None
    expected: int
    found: int
    searches: int
    points: int
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class QuotaLine:
    """Points of Medplum's quota, as far as the account knows of them."""

    limit: int | None
    left: int | None
    heard_at: datetime | None
    compared: int
    open: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A field of a row beside the elements it became: path and text of each."""

    field: str
    value: str | None
    fate: str
    why: str
    elements: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class RowPage:
    """One row beside what Medplum holds of it.

    ``source``: ``confirmed`` (what Medplum confirmed), ``mapped`` (what the mapping makes of it
    now, which is not what Medplum confirmed), ``none`` (it makes nothing), ``purged``.
    """

    resource_types: tuple[str, ...]
    stream: str
    key: str
    state: str
    reason: str | None
    field: str | None
    deleted: bool
    source: str
    pairs: tuple[Pair, ...]
    added: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class RelatedLine:
    """The rows of one type that refer to a patient; ``shown`` some of ``count``."""

    resource_type: str
    count: int
    shown: tuple[RowPage, ...]


@dataclass(frozen=True, kw_only=True)
class NotArrived:
    """A row that names a patient and did not arrive."""

    resource_type: str
    key: str
    state: str
    reason: str
    field: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One patient to look at; ``way`` is how it was chosen, ``why`` what for."""

    name: str
    way: str
    why: tuple[str, ...]
    row: RowPage
    related: tuple[RelatedLine, ...]
    not_arrived: tuple[NotArrived, ...]


@dataclass(frozen=True, kw_only=True)
class Charts:
    """The patients of a report; ``purged``: of so many the row is not kept any more."""

    seed: int
    of_each: int
    patients: int
    purged: int
    charts: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that needs a person; ``at`` is the section that tells more."""

    told: str
    at: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole report."""

    format: int
    made_at: datetime
    pipeline_version: str
    with_patient_data: bool
    encrypted: bool
    chosen_types: tuple[str, ...]
    needs: tuple[Need, ...]
    types: tuple[TypeLine, ...]
    exceptions: tuple[ExceptionLine, ...]
    unmapped_codes: tuple[CodeLine, ...]
    left_out: tuple[LeftOutLine, ...]
    comparisons: tuple[ComparisonLine, ...]
    never_compared: tuple[str, ...]
    streams: tuple[StreamLine, ...]
    pauses: tuple[PauseLine, ...]
    custody: tuple[ActLine, ...]
    runs: tuple[RunLine, ...]
    quota: QuotaLine
    switched: Switched
    charts: Charts | None

    @property
    def needs_a_person(self) -> bool:
        """Whether anything is left to do before it can be signed without conditions."""
        return bool(self.needs)
