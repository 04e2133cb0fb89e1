"""Which field of a row is its key, where the document says so.

Belongs here: the evidence, strongest first. Does not belong here: what becomes of a stream without
one (``streams``). A field that names a row of another stream (``patient_id`` among notes) is never
taken: every note of a patient would be one and the same.
"""

from collections.abc import Iterator, Sequence

from migration_assets.legacy.drafting.listings import Listing, Single
from migration_assets.legacy.drafting.schemas import Field
from migration_assets.legacy.drafting.words import joined, singular

_IDS = ("id", "uuid", "guid", "key")
_SCALARS = ("string", "integer", "")
_WRAPPERS = ("", "resource.", "attributes.", "node.")  # around a row: FHIR, JSON:API, GraphQL


def key_of(
    listing: Listing, name: str, single: Single | None, others: Sequence[str]
) -> tuple[str, ...] | None:
    """The paths of a row's key, or None; ``others`` are the names of the other streams."""
    scalars = [one for one in listing.own_fields if one.shape.kind in _SCALARS]
    marked = tuple(one.path for one in scalars if one.shape.marked)
    if marked:
        return marked
    for wrapper in _WRAPPERS:
        inside = [
            one
            for one in scalars
            if one.path.startswith(wrapper) and "." not in one.path[len(wrapper) :]
        ]
        found = next(_candidates(inside, name, single, others), None)
        if found is not None:
            return (found.path,)
    return None


def _candidates(
    inside: Sequence[Field], name: str, single: Single | None, others: Sequence[str]
) -> Iterator[Field]:
    by_name = {joined(one.name): one for one in inside}
    own = joined(singular(name.rpartition(".")[2]))
    foreign = {joined(singular(one)) for one in others}
    asked = joined(single.parameter) if single is not None else ""
    # {note} in a path is the note's key, while `note` in a row is its text
    wanted = [asked] if asked not in ("", "id", own, own + "id") else []
    if asked.endswith("uuid"):
        wanted.append("uuid")
    for one in (*wanted, "id", *(own + part for part in _IDS), "uuid", "guid"):
        if one in by_name:
            yield by_name[one]
    required = [
        one
        for one in inside
        if one.required and joined(one.name).endswith(("id", "key", "number", "code"))
    ]
    required = [one for one in required if _stem(one.name) not in foreign]
    if len(required) == 1 and joined(required[0].name).endswith("id"):
        yield required[0]


def _stem(name: str) -> str:
    said = joined(name)
    return next((said.removesuffix(part) for part in ("id", "key") if said.endswith(part)), said)
