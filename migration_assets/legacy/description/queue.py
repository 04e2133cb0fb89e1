"""Queue feeds: streams that show what changed until it is marked as read at the source.

Belongs here: what a description may say, and what would be lost by it. Does not belong here:
reading and marking (``legacy.queues``).

The law both kinds serve: a row is marked as read at the source only after it is on account here,
and a crash anywhere loses nothing.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from migration_assets.legacy.description.change_time import Cursor
from migration_assets.legacy.description.posting import can_hold
from migration_assets.legacy.description.problems import sentences
from migration_assets.legacy.description.shape import (
    Described,
    Dotted,
    ParameterName,
    QueryValues,
    path_below_base,
)


class Reread(Described):
    """How a queue shows again what was marked as read since a time.

    ``format``, ``tz``, ``precision_seconds`` and the lookback mean what they mean of a cursor.
    The lookback is subtracted by the puller; it covers marks that the source dates a little
    earlier than they take effect. ``until_param`` is for sources that want both ends.
    """

    param: ParameterName
    until_param: ParameterName | None = None
    format: str = "iso"
    tz: str | None = None
    precision_seconds: float = 1
    lookback_seconds: float = 3600

    @model_validator(mode="after")
    def _is_as_sound_as_a_cursor(self) -> Self:
        try:
            _ = self.cursor
        except ValidationError as error:
            found = sentences(error)
        else:
            return self
        raise ValueError("; ".join(found))

    @property
    def cursor(self) -> Cursor:
        """The same as a cursor, which knows how to write times."""
        return Cursor(
            field="$",
            format=self.format,
            tz=self.tz,
            precision_seconds=self.precision_seconds,
            param=self.param,
            until_param=self.until_param,
            lookback_seconds=self.lookback_seconds,
        )


class ConsumingQueue(Described):
    """A plain read takes what it shows off the queue (athenahealth's ``/changed``).

    ``peek`` are the parameters that show without taking, ``take`` those that take. A pull first
    asks for what was taken since the mark (``reread``), then peeks; once that is on account, as
    many rows are taken as were peeked. What comes in between is not taken, or if it is, it is
    landed too; should we be cut off before that, the next pull reads it again.
    """

    type: Literal["consume"]
    peek: Annotated[Mapping[ParameterName, QueryValues], Field(min_length=1)]
    take: Mapping[ParameterName, QueryValues] = {}
    reread: Reread | None = None

    @model_validator(mode="after")
    def _what_is_taken_can_be_read_again(self) -> Self:
        if self.reread is None:
            raise ValueError(
                "without reread, rows taken by a read whose answer is lost on the way are lost for "
                "good; if the source cannot show them again, leave queue out and say its peeking "
                "parameters in params: then nothing is taken"
            )
        if self.peek == self.take:
            raise ValueError("peek and take are the same: peeking would take rows unlanded")
        return self

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters it sets itself."""
        again = (self.reread.param, self.reread.until_param) if self.reread else ()
        return (*self.peek, *self.take, *(name for name in again if name is not None))


class AcknowledgedQueue(Described):
    """Rows stay in the queue until a request says that they were read.

    ``event`` leads from a row to what names this change of it, or to the receipt that came with
    it. The names of rows on account are sent to ``path``: ``size`` at a time as a list at ``ids``
    of the JSON ``body`` (``$``: the list is the body), or one by one where ``path`` says
    ``{event}``. A row that changes in between comes again as a new event.

    ``event`` should not be the row's own id: if the row changed after we read it, that change would
    be marked as read with it, unseen. ``accepted_loss`` is a person's reason for using it.
    """

    type: Literal["acknowledge"]
    path: str
    event: Dotted
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    ids: Dotted | None = None
    body: Mapping[str, JsonValue] = {}
    size: Annotated[int, Field(ge=1)] = 100
    accepted_loss: str | None = None

    @field_validator("path")
    @classmethod
    def _path_stays_below_the_base(cls, value: str) -> str:
        return path_below_base(value)

    @model_validator(mode="after")
    def _events_go_somewhere(self) -> Self:
        if ("{event}" in self.path) == (self.ids is not None):
            raise ValueError("the names of events go into path as {event}, or into body at ids")
        if self.ids not in (None, "$") and not can_hold(self.body, self.ids or ""):
            raise ValueError("ids leads through something in body that is not an object")
        return self

    @property
    def parameters(self) -> tuple[str, ...]:
        """None: it is read as any stream is."""
        return ()


QueueDescription: TypeAlias = Annotated[
    ConsumingQueue | AcknowledgedQueue, Field(discriminator="type")
]


def loss_by_queue(
    queue: QueueDescription, *, method: str, key: tuple[str, ...], others: Mapping[str, object]
) -> str | None:
    """What would be lost, as a sentence, or None; ``others`` are fields no queue goes with."""
    if said := [name for name, value in others.items() if value]:
        return (
            f"queue: {said[0]} does not go with it: a queue shows what changed and was not read "
            "yet, whatever its time; rows left out would be marked as read, rows that are not in "
            "it are not gone"
        )
    if isinstance(queue, ConsumingQueue):
        return "queue: it is peeked at and taken from by GET" if method != "GET" else None
    if key == (queue.event,) and queue.accepted_loss is None:
        return (
            "queue: event is the row's own id: a change made after we read the row would be marked "
            "as read with it, unseen; name the event or a receipt, or say accepted_loss: and why"
        )
    return None
