"""The paths that list rows, and why the others were left out.

Belongs here: which GET answers with a list, where in the answer it is, which path gives one row of
it. Does not belong here: how the list is paged, keyed or filtered.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_assets.legacy.drafting.documents import Document, mapping
from migration_assets.legacy.drafting.parameters import Parameter, parameters_of
from migration_assets.legacy.drafting.schemas import Field, Schemas, Shape, can_be_said
from migration_assets.legacy.drafting.words import joined, words

PATH_PARAMETER = re.compile(r"\{([^{}]*)\}")
_NOT_ROWS = frozenset({"error", "errors", "warning", "warnings", "message", "messages", "link"})
_USUAL_NAMES = (
    "data",
    "results",
    "result",
    "items",
    "rows",
    "records",
    "entries",
    "entry",
    "value",
)
_AROUND_A_ROW = frozenset({"resource", "attributes", "node", "meta", "metadata"})
_OWN_KEYS = frozenset({"id", "uuid", "guid"})
_SUCCESS = ("200", "2XX", "2xx", "default")


@dataclass(frozen=True)
class Listing:
    """A GET that lists rows.

    ``select`` leads to them, ``fields`` are a row's, ``envelope`` what stands around the list;
    ``response_headers`` are the answer's own, by name in lower case, and ``unsaid`` the names
    around the list that no dotted path can say.
    """

    path: str
    select: str
    fields: tuple[Field, ...]
    envelope: tuple[Field, ...]
    parameters: tuple[Parameter, ...]
    response_headers: Mapping[str, Shape] = field(default_factory=dict)
    unsaid: tuple[str, ...] = ()
    operation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own_fields(self) -> tuple[Field, ...]:
        """What is said of the row itself, not of another inside it (``patient.updated_at``)."""
        return tuple(one for one in self.fields if _AROUND_A_ROW.issuperset(_above(one)))

    @property
    def query(self) -> tuple[Parameter, ...]:
        """The parameters of its query."""
        return tuple(one for one in self.parameters if one.place == "query")


@dataclass(frozen=True)
class Single:
    """A GET of one row: ``/patients/{id}``; ``select`` leads to the row in the answer."""

    path: str
    parameter: str
    select: str
    names: frozenset[str]


@dataclass
class Found:
    """What the paths hold. ``left_out`` are GETs that list nothing we recognise."""

    listings: list[Listing] = field(default_factory=list)
    singles: dict[str, Single] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def listings_of(document: Document, schemas: Schemas) -> Found:
    """Every GET of the document, sorted into lists, single rows (by their list's path), others."""
    found = Found()
    for path, raw in mapping(document.root.get("paths")).items():
        item = document.resolve(raw)
        operation = document.resolve(item.get("get"))
        if not operation or not path.startswith("/"):
            continue
        answer = _answer(document, operation)
        schema = _json_schema(document, answer)
        above, _, last = path.rstrip("/").rpartition("/")
        named = PATH_PARAMETER.search(last)
        if named is not None and schemas.shape(schema).kind != "array":
            found.singles[above.rstrip("/")] = _single(path, named[1], schema, schemas)
            continue
        spot = _rows_in(schema, schemas) if named is None else None
        if spot is None:
            found.left_out.append(path)
            continue
        select, items = spot
        envelope = schemas.fields(schema) if select != "$" else ()
        found.listings.append(
            Listing(
                path,
                select,
                schemas.fields(items),
                tuple(one for one in envelope if one.path != select),
                parameters_of(document, schemas, item, operation),
                _headers(document, schemas, answer),
                tuple(one for one in schemas.shape(schema).properties if not can_be_said(one)),
                operation,
            )
        )
    return found


def _above(one: Field) -> list[str]:
    return one.path.split(".")[:-1]


def _single(path: str, parameter: str, schema: Any, schemas: Schemas) -> Single:
    shape, select = schemas.shape(schema), "$"
    inner = [
        (name, one)
        for name, one in ((name, schemas.shape(one)) for name, one in shape.properties.items())
        if one.properties
    ]
    if len(inner) == 1 and not _OWN_KEYS & {joined(name) for name in shape.properties}:
        (select, shape) = inner[0]
    return Single(path, parameter, select, frozenset(shape.properties))


def _answer(document: Document, operation: Mapping[str, Any]) -> Mapping[str, Any]:
    responses = mapping(operation.get("responses"))
    named = next((name for name in _SUCCESS if name in responses), "")
    return document.resolve(responses.get(named))


def _json_schema(document: Document, answer: Mapping[str, Any]) -> Any:
    if document.is_swagger:
        return answer.get("schema")
    content = mapping(answer.get("content"))
    for kind in content:
        if "json" in kind.lower() or kind.strip() == "*/*":
            return document.resolve(content[kind]).get("schema")
    return None


def _headers(
    document: Document, schemas: Schemas, answer: Mapping[str, Any]
) -> Mapping[str, Shape]:
    found = {}
    for name, raw in mapping(answer.get("headers")).items():
        header = document.resolve(raw)
        found[name.lower()] = schemas.shape(header if document.is_swagger else header.get("schema"))
    return found


def _rows_in(schema: Any, schemas: Schemas) -> tuple[str, Any] | None:
    """The dotted path of the rows and what one of them is, or None if there is no one list."""
    shape = schemas.shape(schema)
    if shape.kind == "array":
        return ("$", shape.items) if _may_be_rows(shape, schemas) else None
    if _OWN_KEYS & {joined(name) for name in shape.properties}:
        return None  # one thing with a list in it (a patient with phones), not a list of things
    lists = [one for one in schemas.fields(schema, deepest=2) if _is_list(one, schemas)]
    at_the_top = [one for one in lists if "." not in one.path]
    for found in (at_the_top, lists):
        usual = [one for one in found if one.name.lower() in _USUAL_NAMES]
        for chosen in (found, usual):
            if len(chosen) == 1:
                return chosen[0].path, chosen[0].shape.items
    return None


def _is_list(one: Field, schemas: Schemas) -> bool:
    said = words(one.name)
    return (
        one.shape.kind == "array"
        and bool(said)
        and not (said[-1] in _NOT_ROWS or said[-1] == "links")
        and _may_be_rows(one.shape, schemas)
    )


def _may_be_rows(shape: Shape, schemas: Schemas) -> bool:
    """Rows are objects; a list of numbers or texts is none, one of nobody knows what may be."""
    return schemas.shape(shape.items).kind in ("object", "")
