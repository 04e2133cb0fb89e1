"""One kind of row in a source, and the template that streams share.

Belongs here: what a description may say about a stream. Does not belong here: parts with types of
their own (``paging``, ``change_time``), or the pull itself (``legacy.pull``).
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from migration_assets.legacy.description.change_time import Cursor
from migration_assets.legacy.description.paging import (
    PagerDescription,
    SinglePage,
    TotalHeader,
    parameters_of,
)
from migration_assets.legacy.description.posting import CREDENTIAL_NAMES, posting_problem
from migration_assets.legacy.description.queue import QueueDescription, loss_by_queue
from migration_assets.legacy.description.record_date import RecordDate
from migration_assets.legacy.description.row_loss import loss_by_paging
from migration_assets.legacy.description.shape import (
    Described,
    Dotted,
    DottedNames,
    ParameterName,
    QueryValues,
    path_below_base,
)
from migration_assets.legacy.description.writing import Writing, writing_problem


class Tombstone(Described):
    """What tells a row that is deleted, or archived: the value at ``path`` is truthy.

    With ``truthy: false`` it is the contrary (``active``).
    """

    path: Dotted
    truthy: bool = True


class Feed(Described):
    """A further path whose rows belong to the stream: its deletions, or what is archived.

    What it does not say it shares with the stream; ``cursor: null`` reads all of it every time.
    """

    path: str
    means: Literal["deleted", "archived"]
    select: Dotted | None = None
    id: DottedNames = ()
    params: Mapping[str, QueryValues] | None = None
    pager: PagerDescription | None = None
    cursor: Cursor | None = None
    require: DottedNames = ()


class Parent(Described):
    """Rows that a source gives only for one parent at a time.

    The parents' keys are those of another ``stream``, or the lines of ``ids_file`` (a list from a
    report or a database, one key a line). Each goes into the query as ``param``, or into the
    stream's ``path`` where it says ``{parent}``.
    """

    stream: str | None = None
    ids_file: str | None = None
    param: ParameterName | None = None

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if (self.stream is None) == (self.ids_file is None):
            raise ValueError(
                "needs either stream or ids_file: where do the parents' keys come from?"
            )
        return self


class Template(Described):
    """What a stream may say, and what ``defaults`` may say for all of them.

    ``path`` is relative to ``base_url``; ``{stream}`` in it is the stream's name. ``select`` leads
    to the list of rows. ``id`` is a dotted path or several, for keys of more than one part. A
    200 is believed only if every path of ``require`` is there, every path of ``require_true`` is
    true, and no path of ``error_if`` holds anything. ``volatile`` fields are ignored when the
    manifest asks whether a row changed.

    With ``method: POST`` the parameters of cursor and pager go into ``body``, a JSON template, at
    the dotted paths their names are; a number where the template holds one, else text. ``params``
    stay in the query. A body with a ``query`` is GraphQL: ``errors`` in its answer is an error.

    ``detail`` is the path of one row, with ``{id}``, where the list shows only part of it;
    ``detail_select`` leads to it in the answer. ``parent`` is for rows that must be asked for
    parent by parent.

    ``confirm`` is the path that is asked whether a row that did not come is gone, with
    ``confirm_select`` to the row in the answer; ``detail`` and ``detail_select`` if not said. In
    both paths ``{stream}`` is the stream's name, so that ``defaults`` may say them. ``total``
    leads to the number of rows there are, or ``{header: X-Total-Count}``: fewer than that are not
    believed to be all.

    ``tombstone`` and ``archived`` tell rows that are deleted or put away, ``merged_into`` leads to
    the key of the row that stands for this one now, and ``feeds`` are further paths of such rows.

    ``queue`` is for a feed that shows what changed until it is marked as read.

    ``record_date`` is the clinical date of the rows, for runs over a range of it.

    ``write`` is how rows are written back, where Medplum owns the type for a time.

    ``sweep`` promises that the stream is also read in full regularly, which heals what paging may
    miss until then. It starts nothing: the schedule ``nightly_sweep``, switched on, keeps it.

    ``fresh_seconds`` is how long ago the stream may have been read to its end before it counts as
    late: more for one that only the schedules read. Without it, ``MIGRATION_FRESH_SECONDS`` is.
    """

    path: str | None = None
    method: Literal["GET", "POST"] = "GET"
    body: Mapping[str, JsonValue] = {}
    select: Dotted = "$"
    id: DottedNames = ()
    params: Mapping[str, QueryValues] = {}
    pager: PagerDescription = SinglePage()
    cursor: Cursor | None = None
    record_date: RecordDate | None = None
    tombstone: Tombstone | None = None
    archived: Tombstone | None = None
    merged_into: Dotted | None = None
    feeds: tuple[Feed, ...] = ()
    require: DottedNames = ()
    require_true: DottedNames = ()
    error_if: DottedNames = ()
    volatile: tuple[str, ...] = ()
    detail: str | None = None
    detail_select: Dotted = "$"
    confirm: str | None = None
    confirm_select: Dotted | None = None
    total: Dotted | TotalHeader | None = None
    parent: Parent | None = None
    queue: QueueDescription | None = None
    write: Writing | None = None
    sweep: bool = False
    fresh_seconds: Annotated[int, Field(ge=60)] | None = None
    max_pages: Annotated[int, Field(ge=1)] = 100_000

    @field_validator("path", "detail", "confirm")
    @classmethod
    def _path_stays_below_the_base(cls, value: str | None) -> str | None:
        return None if value is None else path_below_base(value)

    @field_validator("detail", "confirm")
    @classmethod
    def _path_of_one_row_takes_an_id(cls, value: str | None) -> str | None:
        if value is not None and value.count("{id}") != 1:
            raise ValueError("should hold {id} exactly once")
        return value

    @field_validator("params")
    @classmethod
    def _no_credential_among_the_params(
        cls, value: Mapping[str, QueryValues]
    ) -> Mapping[str, QueryValues]:
        if any(name.lower() in CREDENTIAL_NAMES for name in value):
            raise ValueError("a credential does not belong here: use auth with type: query")
        return value

    @model_validator(mode="after")
    def _no_parameter_is_set_twice(self) -> Self:
        if set(parameters_of(self.pager)) & set(self.params):
            raise ValueError("a parameter of the pager also stands in params: remove it there")
        if self.queue is not None and set(parameters_of(self.pager)) & set(self.queue.parameters):
            raise ValueError("a parameter of the pager also stands in queue: remove it there")
        if self.record_date is not None:
            asked = {self.record_date.param, self.record_date.until_param}
            if asked & {*parameters_of(self.pager), *self.params}:
                raise ValueError("a parameter of record_date is also the pager's or in params")
        return self


class Stream(Template):
    """One kind of row (``patients``): where it is, what its key is, how it is paged."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]

    @model_validator(mode="after")
    def _says_enough_to_be_pulled(self) -> Self:
        missing = [name for name in ("path", "id") if not getattr(self, name)]
        if missing:
            raise ValueError(f"needs {' and '.join(missing)}, here or in defaults")
        if problem := posting_problem(self.method, self.body, self.pager, self.cursor):
            raise ValueError(problem)
        if problem := writing_problem(self.write, key=self.id, parent=self.parent is not None):
            raise ValueError(problem)
        if problem := loss_by_paging(self.pager, self.cursor, sweep=self.sweep):
            raise ValueError(problem)
        in_path = "{parent}" in (self.path or "")
        in_param = self.parent is not None and self.parent.param is not None
        if in_path and self.parent is None:
            raise ValueError("path holds {parent}: say where the keys come from with parent")
        if self.parent is not None and in_path == in_param:
            raise ValueError("the parent's key goes into parent.param or into path as {parent}")
        if self.queue is not None:
            names = ("cursor", "feeds", "parent", "sweep")
            others = {name: getattr(self, name) for name in names}
            problem = loss_by_queue(self.queue, method=self.method, key=self.id, others=others)
            if problem:
                raise ValueError(problem)
        for feed in self.feeds:
            self.of_feed(feed)
        return self

    def of_feed(self, feed: Feed) -> "Stream":
        """The stream as one of its feeds serves it.

        Raises:
            ValidationError: the two do not go together.
        """
        said = {name: getattr(self, name) for name in self.model_fields_set}
        own = {name: getattr(feed, name) for name in feed.model_fields_set - {"means"}}
        left_out = {"feeds": (), "tombstone": None, "archived": None, "record_date": None}
        left_out |= {"detail": None, "confirm": None, "total": None, "write": None}
        flag = "tombstone" if feed.means == "deleted" else "archived"
        return Stream.model_validate({**said, **own, **left_out, flag: Tombstone(path="$")})

    @property
    def relative_path(self) -> str:
        """The path below ``base_url``, with the stream's name filled in."""
        return (self.path or "").replace("{stream}", self.name).lstrip("/")
