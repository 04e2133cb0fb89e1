"""How rows of a stream are written back to the source, where that is wanted.

Belongs here: what a description may say about it, and what would be lost by it. Does not belong
here: requests (``legacy.writing``), or which rows are written (``operations.writing_back``).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from migration_assets.legacy.description.shape import (
    Described,
    Dotted,
    DottedNames,
    path_below_base,
)


class LockField(Described):
    """``If-Match`` takes the value that this field of the row has."""

    field: Dotted


class Writing(Described):
    """One row's own address, and what may be sent there.

    ``path`` is that of one row, with ``{id}``: a GET of it answers with the row as the list shows
    it, below ``select``; ``method`` writes it. With ``body: fields`` only what differs is sent,
    with ``body: row`` the whole row as it was just read with what differs, but for ``leave_out``
    (``updated_at``, where the source keeps it itself). ``into`` is where in the body that goes.

    ``if_match`` is what keeps an edit of somebody else's between our look and our write from being
    written over: ``etag``, or ``{field: updated_at}``. A source without such a lock says ``none``
    and with ``accepted_loss`` why that may be.

    ``create`` is the path for a new row; its key is in the answer, below ``create_select``, where
    ``id`` leads to. ``once`` is the header by which the source knows a repeated one again
    (Idempotency-Key); without it a new row whose answer is lost waits for a person. ``delete``
    permits DELETE.
    """

    path: str
    method: Literal["PUT", "PATCH", "POST"] = "PUT"
    body: Literal["fields", "row"] = "fields"
    into: Dotted | None = None
    select: Dotted = "$"
    leave_out: DottedNames = ()
    if_match: Literal["etag", "none"] | LockField
    accepted_loss: str | None = None
    create: str | None = None
    create_select: Dotted = "$"
    once: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] | None = None
    delete: bool = False

    @field_validator("path", "create")
    @classmethod
    def _path_stays_below_the_base(cls, value: str | None) -> str | None:
        return None if value is None else path_below_base(value)

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if self.path.count("{id}") != 1:
            raise ValueError("write.path should hold {id} exactly once")
        if self.create is not None and "{id}" in self.create:
            raise ValueError("write.create is the path of a row that has no id yet")
        if self.if_match == "none" and not self.accepted_loss:
            raise ValueError(
                "write.if_match: without a lock an edit made between our look and our write is "
                "written over, unseen; name the lock, or say accepted_loss: and why"
            )
        return self


def writing_problem(writing: Writing | None, *, key: tuple[str, ...], parent: bool) -> str | None:
    """Why rows of such a stream have no address of their own, as a sentence, or None."""
    if writing is None:
        return None
    if len(key) > 1:
        return "write: a key of several parts does not go into a path"
    if parent:
        return "write: rows that are read parent by parent cannot be written back yet"
    return None
