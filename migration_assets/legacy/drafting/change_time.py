"""How changes are asked for: a filter by change time, and the field of a row it filters by.

Belongs here: finding both and saying what is sure of them. Does not belong here: whether a pager
may go with it (``streams``).

A cursor is drafted only where document and OpenAPI leave no zone open: ``date-time`` is RFC 3339,
with an offset, in the row and in the parameter (a row without one is marked, not guessed). Days
and plain text mean a zone that no document says: such a stream is read in full, and the cursor
stands in a comment to be completed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migration_assets.legacy.drafting.listings import Listing
from migration_assets.legacy.drafting.parameters import Parameter
from migration_assets.legacy.drafting.schemas import Field
from migration_assets.legacy.drafting.words import joined, words

_CHANGED = frozenset(
    {"updated", "update", "modified", "modify", "modification", "changed", "change", "mtime",
     "revised", "touched"}
)  # fmt: skip
_RUN_TOGETHER = ("lastupdated", "lastmodified", "lastchanged", "dateupdated", "datetstamp")
_CREATED = frozenset({"created", "create", "creation", "inserted", "added"})
_SURELY_INCLUSIVE = frozenset({"gte", "ge", "from", "min"})
_FROM = _SURELY_INCLUSIVE | {"since", "after", "gt", "start", "begin"}
_TO = frozenset({"lte", "le", "lt", "before", "until", "to", "max", "end", "till"})
_NOT_A_TIME = frozenset({"by", "user", "id", "count", "version", "name", "reason", "type", "field"})
_NUMBERS = ("integer", "number")
_IN_DAYS: Mapping[str, Any] = {"precision_seconds": 86_400, "tz": "..."}
_LOOKBACK, _LOOKBACK_OF_DAYS = 3_600, 172_800  # seconds


@dataclass(frozen=True)
class ChangeTime:
    """A cursor as the description writes it, or what is known of one that is not sure.

    ``cursor`` is complete and safe if ``sure``, else only a suggestion for a comment.
    """

    cursor: Mapping[str, Any] | None = None
    sure: bool = False
    decide: tuple[str, ...] = ()


def change_time_of(listing: Listing) -> ChangeTime:
    """The filter by change time of a listing, if it has one."""
    fields = [one for one in listing.own_fields if _is_changed(one.name)]
    if (fhir := _fhir(listing)) is not None:
        return fhir
    lower = [one for one in listing.query if _bound(one, _FROM)]
    if not lower:
        return ChangeTime(decide=_without_filter(listing, fields))
    if len(lower) > 1:
        lower = [one for one in lower if not {"gt", "after"} & set(words(one.name))] or lower
    param = lower[0]
    matching = _matching(fields, param)
    if matching is None:
        said = (
            f"{param.name} asks for changes, but no one field of a row says when it changed: "
            "everything is read every time; say cursor: {field: ..., param: "
            f"{param.name}}} if there is one"
        )
        return ChangeTime(decide=(said,))
    return _cursor(matching, param, listing)


def _fhir(listing: Listing) -> ChangeTime | None:
    """FHIR's ``_lastUpdated`` with its prefixes; an instant always has a zone."""
    if not any(one.name == "_lastUpdated" for one in listing.query):
        return None
    field = next((one for one in listing.fields if one.path.endswith("meta.lastUpdated")), None)
    path = field.path if field is not None else "meta.lastUpdated"
    if field is None and listing.select == "entry":
        path = "resource.meta.lastUpdated"
    return ChangeTime(
        {
            "field": path,
            "param": "_lastUpdated",
            "send": "ge{value}",
            "until_param": "_lastUpdated",
            "until_send": "lt{value}",
            "lookback_seconds": _LOOKBACK,
        },
        sure=True,
    )


def _is_changed(name: str) -> bool:
    said = set(words(name))
    return bool(said & _CHANGED or joined(name) in _RUN_TOGETHER) and not said & _NOT_A_TIME


def _bound(parameter: Parameter, operators: frozenset[str]) -> bool:
    said = words(parameter.name)
    if parameter.kind == "boolean" or not set(said) & operators:
        return False
    rest = tuple(word for word in said if word not in operators)
    return _is_changed("_".join(rest)) or (said == ("since",) and "since" in operators)


def _matching(fields: list[Field], parameter: Parameter) -> Field | None:
    """The field a parameter filters by: of its name, or else the only one there is."""
    stem = [word for word in words(parameter.name) if word not in _FROM]
    same = [one for one in fields if list(words(one.name)) == stem]
    alike = [one for one in fields if set(words(one.name)) & set(stem) & _CHANGED]
    for found in (same, alike or fields):
        if len(found) == 1:
            return found[0]
    return None


def _cursor(field: Field, param: Parameter, listing: Listing) -> ChangeTime:
    shown, doubts = _as_shown(field)
    asked, further = _as_asked(field, param)
    cursor: dict[str, Any] = {"field": field.path, **shown, "param": param.name, **asked}
    doubts += further
    if not set(words(param.name)) & _SURELY_INCLUSIVE:
        cursor["inclusive"] = False  # a tick is read twice; the other way it might never be read
    until = _upper(listing, param)
    if until is not None and (until.kind, until.format) == (param.kind, param.format):
        cursor["until_param"] = until.name
    cursor["lookback_seconds"] = _LOOKBACK_OF_DAYS if "tz" in cursor else _LOOKBACK
    if not doubts:
        return ChangeTime(cursor, sure=True)
    said = (
        f"{param.name} filters by {field.path}, but the document leaves open "
        f"{' and '.join(doubts)}; wrong, changes would be lost, so everything is read every time"
    )
    return ChangeTime(cursor, decide=(said,))


def _as_shown(field: Field) -> tuple[dict[str, Any], list[str]]:
    """How a row writes its change time, and what the document leaves open about it."""
    path, shape = field.path, field.shape
    if shape.kind in _NUMBERS and shape.in_milliseconds:
        return {"format": "epoch_ms"}, []
    if shape.kind in _NUMBERS:
        said = f"whether {path} counts seconds or milliseconds (epoch_ms)"
        return {"format": "epoch_s"}, [said]
    if shape.format == "date":
        return dict(_IN_DAYS), [f"the zone in which {path} counts its days (tz)"]
    if shape.format == "date-time":
        return {}, []
    return {}, [f"whether {path} carries a zone (else tz), and its format"]


def _as_asked(field: Field, param: Parameter) -> tuple[dict[str, Any], list[str]]:
    """How the parameter takes a time, and what the document leaves open about it."""
    name, doubts = param.name, []
    asked: dict[str, Any] = {}
    if words(name) == ("since",):
        doubts.append("whether since means changed and not created since")
    numeric = param.kind in _NUMBERS
    if numeric is not (field.shape.kind in _NUMBERS):
        doubts.append(f"the format {name} takes (send_format)")
    elif param.format == "date" and field.shape.format != "date":
        asked = {"send_format": "%Y-%m-%d", **_IN_DAYS}
        doubts.append(f"the zone in which {name} counts its days (tz)")
    elif not numeric and param.format not in ("date", "date-time"):
        doubts.append(f"whether {name} takes a time with a zone (2024-01-31T10:00:00Z)")
    return asked, doubts


def _upper(listing: Listing, param: Parameter) -> Parameter | None:
    stem = [word for word in words(param.name) if word not in _FROM]
    for one in listing.query:
        if _bound(one, _TO) and [word for word in words(one.name) if word not in _TO] == stem:
            return one
    return None


def _without_filter(listing: Listing, fields: list[Field]) -> tuple[str, ...]:
    """What a person may expect to be used, and why it is not."""
    created = [one.name for one in listing.query if set(words(one.name)) & _CREATED]
    if created:
        said = (
            f"{created[0]} filters by creation: used as a cursor, every later change of a row "
            "would be lost; everything is read every time"
        )
        return (said,)
    if fields:
        said = (
            f"{fields[0].path} says when a row changed, but no parameter filters by it: everything "
            "is read every time; if the vendor knows one, say cursor with its param"
        )
        return (said,)
    return ()
