"""What a mapping is: the words every file in ``mappings/`` is written with.

Belongs here: the types a mapping file uses, and the two facts about the source that every
identifier and every time depend on. Does not belong here: constructing FHIR elements (``fhir``),
finding the mapping files (``mappings``), or running them (``pipeline``).
"""

import enum
from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from migration_assets.errors import Quarantine, Transient

SOURCE_URI = "http://your-source-system.com"
"""Prefix of every identifier system, as in Medplum's guide. Settle it before the first delivery:
identifiers are how a record is found again, so a changed prefix is a second copy of everything."""

SOURCE_ZONE: str | None = None
"""IANA zone of the source's zone-less times, or None: then a zone-less time is quarantined."""

Resource: TypeAlias = dict[str, Any]
"""FHIR JSON, nothing else."""


class Row(BaseModel):
    """Base of a mapping's row model: frozen, tolerant of extra fields, silent about values."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Quarantined(Quarantine):
    """Raised by a mapping that would otherwise have to guess."""


@dataclass(frozen=True)
class Skip:
    """A mapping's answer for a row that is left out on purpose; ``reason`` is kebab-case."""

    reason: str


@dataclass(frozen=True)
class Related:
    """Resources of one row that must be written together or not at all; the first is the main one.

    Members refer to each other with the ordinary ``fhir.reference``; the deliverer sees that the
    target is in the same group.
    """

    resources: tuple[Resource, ...]


@dataclass(frozen=True, kw_only=True)
class Bot:
    """A Medplum Bot that transforms rows in place of ``build``.

    Named by ``identifier`` (``system|value``: the same in every project) or by ``id``. At most
    ``at_once`` executions are under way.
    """

    identifier: str | None = None
    id: str | None = None
    at_once: int = 4

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return self.identifier or f"Bot/{self.id}"


class Unanswered(Transient):
    """What becomes of a row is a Bot's to say, and it was not asked or could not answer yet."""


class Answers(Protocol):
    """What a Bot says of rows; ``steps.transforming`` asks it, and preparing only looks it up."""

    def answer(self, row: Any) -> "Resource | Related | Skip":
        """What a row became. Raises Quarantined, or Unanswered."""


def built_by_a_bot(_row: Any) -> NoReturn:
    """Stand where ``build`` does not: such a row is nobody's to build here."""
    raise Unanswered("This mapping's Bot was not asked what its rows become.")


class Step(enum.Enum):
    """The five steps of Medplum's migration guide (sequence page), which group the asset graph."""

    PROVIDERS = "1_providers"
    ORGANIZATIONS = "2_organizations"
    PATIENTS = "3_patients"
    SNAPSHOT = "4_problems_and_medications"
    HISTORY = "5_encounters_and_results"


class Removal(enum.Enum):
    """What becomes of a resource whose row was deleted at the source."""

    DELETE = "delete"
    """FHIR DELETE: no search finds it, its history stays."""
    INACTIVE = "inactive"
    """Kept with ``active: false``: people and places that others still refer to."""
    ENTERED_IN_ERROR = "entered-in-error"
    """Kept with that status: clinical records that somebody may have acted on."""


class LeftOut(enum.Enum):
    """Why a field that rows fill is in no resource (the guide's mapping register)."""

    TRACEABILITY = "traceability only"
    """It stays on account with the row, for whoever asks where a record came from."""
    EXCLUDED = "excluded"
    """Somebody decided that it is not wanted."""
    UNSUPPORTED = "unsupported"
    """FHIR or Medplum has no place for it."""
    OUT_OF_SCOPE = "out of scope"
    """Another migration, or another mapping, is to carry it."""


class Review(enum.Enum):
    """How far a mapping is agreed on with those who answer for the records."""

    DRAFT = "draft"
    REVIEWED = "reviewed"
    APPROVED = "approved"


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Mapping(Generic[R]):
    """How the rows of one stream become resources of one type.

    ``build`` is pure: no clock, network, environment or randomness. ``after`` names the types it
    refers to (load order). ``related`` names further types it may yield in a group. ``examples``
    are invented rows: documentation, demo data and contract-test input at once; those for
    ``quarantined_examples`` must each raise, and say how. ``version`` changes whenever the same
    row could come out differently. ``removal`` is what becomes of the resources of a deleted row.

    ``back_references`` are element paths (``Encounter.diagnosis.condition``) to types that come
    later in load order, for FHIR itself is cyclic: while such a target is not there the resource is
    written without it, and completed in a second pass when it arrives.

    ``reverse`` is the way back, for edits made in Medplum after the flip: the row's fields that a
    resource says, pure as well. It is given the resource, its references in the form that ``build``
    writes, and the row as it stands (empty for a new one). It need not be complete: what ``build``
    does not make of the row again is not written back but refused, with the element's path. It
    raises Quarantined rather than guess. Without it nothing of the type is written back.

    ``create_only`` types are seeded once and never written again: what is there already, from
    whomever, stays as it is.

    ``left_out`` says of fields that rows fill and that are mapped on purpose to nothing why that is
    so, in a sentence for the clinical lead. ``owner`` answers for the mapping; ``review`` is how
    far it is agreed on. All three are for the mapping register, and change no resource.

    ``marker`` is a tag (system, code) that an installation has on everything it migrates, by a
    setting and never in a mapping file. It is content like any other: with another one, or none,
    every resource comes out differently without another ``version``.

    ``transformer`` is a Bot of the Medplum project that says what becomes of a row, instead of
    ``build``; ``answers`` are what it said, and no mapping file's to give.

    ``beside`` is the mapping that makes the same resources from rows, whose lease and phase this
    one shares: what services send of a type is written beside those, one after the other.
    """

    stream: str
    row: type[R]
    resource_type: str
    build: Callable[[R], Resource | Related | Skip] = built_by_a_bot
    transformer: Bot | None = None
    answers: Answers | None = field(default=None, repr=False, compare=False)
    version: str
    step: Step
    after: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    removal: Removal = Removal.DELETE
    back_references: tuple[str, ...] = ()
    create_only: bool = False
    reverse: Callable[[Resource, dict[str, Any]], dict[str, Any] | Skip] | None = None
    left_out: MappingOf[str, tuple[LeftOut, str]] = field(default_factory=dict, repr=False)
    owner: str = ""
    review: Review = Review.DRAFT
    marker: tuple[str, str] | None = None
    beside: "Mapping[Any] | None" = None
    examples: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    quarantined_examples: tuple[tuple[str, dict[str, Any]], ...] = field(default=(), repr=False)

    @property
    def types(self) -> tuple[str, ...]:
        """Every type this mapping may yield, the main one first."""
        return (self.resource_type, *self.related)

    @property
    def head(self) -> str:
        """The type whose lease and phase count."""
        return self.beside.resource_type if self.beside else self.resource_type
