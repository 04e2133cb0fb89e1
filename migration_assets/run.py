"""What one run holds on to: the manifest, the puller, Medplum, and the window it works on.

Belongs here: the values and seams that the spine (``pipeline``) and the sweep (``sweeping``) share.
Does not belong here: what is done with them.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from migration_assets.adoption import Adoption
from migration_assets.legacy import PulledPage, Sighting
from migration_assets.manifest import Manifest
from migration_assets.medplum import Deliverer, Fhir, Manner
from migration_assets.thresholds import Tally, Threshold, Tolerance

SETTLE_LAG = timedelta(seconds=1)
"""The mark stays this far behind the source's clock: its Date header has whole seconds."""


class Puller(Protocol):
    """Where rows come from; ``legacy.Puller`` is one."""

    @property
    def requests_made(self) -> int:
        """Requests to the source so far."""

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
        """Pages of rows that changed in [since, until); ``whole`` proves that none is missing."""

    def acknowledge(self, stream: str) -> Iterator[PulledPage]:
        """What was landed may be marked as read at the source; rows that this brings up."""

    def time_slack(self, stream: str) -> timedelta:
        """By how much change times may be misread."""

    def floored(self, stream: str, moment: datetime) -> datetime:
        """The beginning of the tick of the source's times in which a moment lies."""

    def asks_for(self, stream: str) -> tuple[datetime | None, datetime | None]:
        """The change times that a whole reading asks for; None is an open end."""

    def can_look_up(self, stream: str) -> bool:
        """Whether one row can be asked for by its key."""

    def look_up(self, stream: str, key: str) -> Sighting:
        """Whether the source still has a row."""


class Progress(Protocol):
    """Told how a run gets on; counts only."""

    def landed(self, resource_type: str, rows: int) -> None:
        """``rows`` more rows of a type are on account."""

    def settled(self, resource_type: str, units: int) -> None:
        """``units`` more units of a type were settled."""


class Silent:
    """A progress nobody watches."""

    def landed(self, resource_type: str, rows: int) -> None:
        """Say nothing."""

    def settled(self, resource_type: str, units: int) -> None:
        """Say nothing."""


class Way(enum.StrEnum):
    """Why a window is pulled."""

    BACKFILL = "window"
    """Whole, on purpose: rows that did not change are looked at again. Never moves the mark."""
    INCREMENTAL = "incremental"
    """What changed since the mark; moves it."""
    SWEEP = "sweep"
    """Everything, to find what was deleted and what no change time tells. Never moves the mark."""
    REMAP = "remap"
    """Nothing is pulled: the rows on account are mapped again by the mapping as it is now."""
    RECORDS = "records"
    """Those of a range of clinical dates, on purpose. Never moves the mark."""


@dataclass(frozen=True)
class Window:
    """Rows to pull: changed in [since, until); None is an open end.

    ``partition`` is recorded as pulled, if given.
    """

    since: datetime | None
    until: datetime | None
    partition: str | None = None
    way: Way = Way.BACKFILL


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything one run holds on to. ``fhir`` is None where nothing may be delivered."""

    id: int
    label: str
    manifest: Manifest
    puller: Puller
    adoption: Adoption
    fhir: Fhir | None
    deadline_seconds: float
    manner: Manner = field(default_factory=Manner)
    progress: Progress = field(default_factory=Silent)
    threshold: Threshold = field(default_factory=Threshold)
    tolerance: Tolerance = field(default_factory=Tolerance)
    tally: Tally = field(default_factory=Tally)
    new_deliverer: Callable[..., Deliverer] = Deliverer
