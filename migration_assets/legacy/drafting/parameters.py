"""The parameters of an operation: where they go, what type they are, whether they must be there.

Belongs here: both spellings, OpenAPI 3 (``schema``) and Swagger 2.0 (in place), and ``deepObject``
ones as the single names they are sent by. Does not belong here: what a parameter is good for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from migration_assets.legacy.drafting.documents import Document, mapping, sequence, text
from migration_assets.legacy.drafting.schemas import Schemas


@dataclass(frozen=True)
class Parameter:
    """One parameter by the name it is sent by.

    ``choices`` are the texts it takes, if they are listed. ``default`` and the bounds are None
    where the document says none, or none that is a whole number or text; ``has_default`` is True
    whatever it is.
    """

    name: str
    place: str
    required: bool = False
    kind: str = ""
    format: str = ""
    choices: tuple[str, ...] = ()
    default: int | str | None = None
    minimum: int | None = None
    maximum: int | None = None
    has_default: bool = False


def parameters_of(
    document: Document, schemas: Schemas, *owners: Mapping[str, Any]
) -> tuple[Parameter, ...]:
    """The parameters of a path and its operation; the later owner's wins over an earlier one's."""
    found: dict[tuple[str, str], Parameter] = {}
    for owner in owners:
        for raw in sequence(owner.get("parameters")):
            for one in _read(document.resolve(raw), document, schemas):
                found[one.name, one.place] = one
    return tuple(found.values())


def _read(raw: Mapping[str, Any], document: Document, schemas: Schemas) -> Iterator[Parameter]:
    name, place = text(raw.get("name")), text(raw.get("in"))
    if not name or place not in ("query", "path", "header"):
        return
    content = next(iter(mapping(raw.get("content")).values()), None)
    schema = raw if document.is_swagger else raw.get("schema", mapping(content).get("schema"))
    shape = schemas.shape(schema)
    if text(raw.get("style")) == "deepObject" and shape.properties:
        for part, inner in shape.properties.items():
            yield _parameter(f"{name}[{part}]", place, inner, document, schemas, required=False)
        return
    required = raw.get("required") is True
    yield _parameter(name, place, schema, document, schemas, required=required)


def _parameter(
    name: str,
    place: str,
    schema: Any,
    document: Document,
    schemas: Schemas,
    *,
    required: bool,
) -> Parameter:
    shape, said = schemas.shape(schema), _plain(document, schema)
    listed = said.get("enum", _plain(document, shape.items).get("enum"))
    default = said.get("default")
    return Parameter(
        name,
        place,
        required,
        shape.kind,
        shape.format,
        tuple(one for one in sequence(listed) if isinstance(one, str)),
        default if isinstance(default, int | str) and not isinstance(default, bool) else None,
        _whole(said.get("minimum")),
        _whole(said.get("maximum")),
        default is not None,
    )


def _plain(document: Document, schema: Any) -> Mapping[str, Any]:
    """The schema that says the bounds: itself, or the one alternative that is not null."""
    found = document.resolve(schema)
    for word in ("allOf", "anyOf", "oneOf"):
        parts = [document.resolve(one) for one in sequence(found.get(word))]
        parts = [one for one in parts if one.get("type") != "null"]
        if len(parts) == 1:
            return {**parts[0], **found}
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
