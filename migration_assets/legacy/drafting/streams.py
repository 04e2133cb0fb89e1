"""One listing as a stream that loads and loses nothing, or as a line a person completes.

Belongs here: putting key, pager, cursor and parent together, and dropping what does not go
together, always towards reading more. Does not belong here: the evidence for each of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from migration_assets.legacy.description import Stream
from migration_assets.legacy.description.problems import sentences
from migration_assets.legacy.drafting.change_time import change_time_of
from migration_assets.legacy.drafting.keys import key_of
from migration_assets.legacy.drafting.listings import PATH_PARAMETER, Listing, Single
from migration_assets.legacy.drafting.naming import Named, parent_by_parameter
from migration_assets.legacy.drafting.ordering import says_order, sorted_by, sorted_for_good
from migration_assets.legacy.drafting.paging import Paging, paging_of, says_pages
from migration_assets.legacy.drafting.parameters import Parameter
from migration_assets.legacy.drafting.words import joined, one_line, words

TO_DECIDE = "..."
_DELETED_FLAGS = frozenset({"deleted", "isdeleted"})
_DELETED_TIMES = frozenset({"deletedat", "deleteddate", "datedeleted", "deletedon"})
_ERRORS = frozenset({"error", "errors", "validationerrors", "internalerrors"})
_SUCCESS = frozenset({"success", "ok", "succeeded"})
_SHOWS = frozenset({"include", "show", "with", "includes"})
_PUT_AWAY = frozenset(
    {"deleted", "inactive", "archived", "voided", "all", "removed", "disabled", "retired"}
)
_SHIFTING = (
    "page numbers over rows in an order nobody knows lose what changes while we read, so all is "
    "read every time; with order: fixed (rows sorted by id or creation) and sweep: true only "
    "changes are"
)
_FIXED = (
    "the order is asked for and not proved: if it is not kept, rows that change while we read are "
    "lost; `migration check` shows what comes"
)

_LEFT_OUT = "what the document says of changes does not go together: left out"
_COUNTED = (
    "a row deleted while we read hides another one until the next sweep: nightly_sweep must run"
)
_MAY_COUNT = (
    f"if the next page's address or token counts rows, {_COUNTED}; if it names the last row, say "
    "keyset: true in place of sweep"
)


@dataclass
class StreamDraft:
    """A stream as the description writes it; ``blocked`` says why it stands in a comment only.

    ``parent`` gives the keys it ``asks_by``; ``holds`` are its rows' own names, joined.
    """

    name: str
    said: dict[str, Any] = field(default_factory=dict)
    decide: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    suggested: Mapping[str, Any] | None = None  # a cursor to complete
    parent: str | None = None
    asks_by: str = ""
    holds: frozenset[str] = frozenset()


def stream_of(named: Named, single: Single | None, others: Iterable[str]) -> StreamDraft:
    """A stream from a listing; ``single`` is the path of one of its rows, ``others`` the names."""
    listing, one = named.listing, StreamDraft(named.name)
    one.holds = frozenset(joined(each.name) for each in listing.own_fields)
    others = [name for name in others if name != named.name]
    one.said = {"name": named.name, "path": listing.path.lstrip("/")}
    if listing.select != "$":
        one.said["select"] = listing.select
    _key(one, listing, single, others)
    paging = paging_of(listing)
    if not paging.complete:
        one.blocked += paging.decide
    else:
        one.decide += paging.decide
    _reading(one, listing, paging)
    _parent(one, named)
    _required(one, listing, others)
    _hidden_rows(one, listing)
    _rows(one, listing, single)
    _proved_to_load(one)
    return one


def _key(one: StreamDraft, listing: Listing, single: Single | None, others: list[str]) -> None:
    key = key_of(listing, one.name, single, others)
    if key is not None:
        one.said["id"] = key[0] if len(key) == 1 else list(key)
    elif listing.fields:
        one.said["id"] = TO_DECIDE
        one.blocked.append("no field is sure to be its key; with a wrong one rows become one row")
    else:
        one.said["id"] = "id"
        one.decide.append(
            "no field of its rows is described; id is assumed to be the key, and a row without one "
            "is quarantined"
        )


def _reading(one: StreamDraft, listing: Listing, paging: Paging) -> None:
    """Pager and cursor: together only where nothing can slip between two pages."""
    pager, params = dict(paging.pager or {}), dict(paging.params)
    change_time = change_time_of(listing)
    one.decide += change_time.decide
    cursor = dict(change_time.cursor) if change_time.cursor and change_time.sure else None
    key = one.said["id"]
    if pager.get("type") in ("page", "offset"):
        fixed = sorted_for_good(listing, (key,) if isinstance(key, str) else tuple(key))
        climbing = sorted_by(listing, cursor["field"]) if cursor is not None else None
        walks = climbing is not None and cursor is not None and cursor.get("inclusive", True)
        if walks and climbing and (fixed is None or not pager.get("overlap")):
            pager = {"type": "walk", "within_tie": pager}
            params |= climbing
        elif fixed is not None:
            pager["order"] = "fixed"
            params |= fixed
            one.decide.append(_FIXED)
        elif cursor is not None and not pager.get("overlap"):
            one.decide.append(_SHIFTING)
            one.suggested, cursor = cursor, None
    if not change_time.sure and change_time.cursor:
        one.suggested = change_time.cursor
    if params:
        one.said["params"] = params
    if pager:
        one.said["pager"] = pager
    if cursor is not None:
        one.said["cursor"] = cursor


def _parent(one: StreamDraft, named: Named) -> None:
    if named.blocked is not None:
        one.blocked.append(named.blocked)
        return
    if named.parent is None and named.ids_file is None:
        return
    path = PATH_PARAMETER.sub("{parent}", one.said["path"])
    if named.parent is not None:
        one.said |= {"path": path, "parent": {"stream": named.parent}}
        one.parent, one.asks_by = named.parent, PATH_PARAMETER.findall(named.listing.path)[0]
        return
    one.said |= {"path": path, "parent": {"ids_file": named.ids_file}}
    one.decide.append(
        f"no path lists its parents: {named.ids_file} must hold their keys, one a line; the rows "
        "of a parent that is not in it are lost"
    )


def _required(one: StreamDraft, listing: Listing, others: list[str]) -> None:
    """Parameters without which the source does not answer."""
    pager = one.said.get("pager", {})
    inner = pager.get("within_tie", pager)
    usual = {"page": "page", "offset": "offset"}.get(inner.get("type"))
    set_already = {*one.said.get("params", {}), inner.get("param", usual)}
    set_already.add(inner.get("size_param", "limit" if usual == "offset" else None))
    for asked in listing.query:
        if not asked.required or asked.name in set_already:
            continue
        parent = parent_by_parameter(asked.name, others)
        if len(asked.choices) == 1:
            one.said.setdefault("params", {})[asked.name] = asked.choices[0]
        elif parent is not None and "parent" not in one.said:
            one.said["parent"] = {"stream": parent, "param": asked.name}
            one.parent, one.asks_by = parent, asked.name
        else:
            one.blocked.append(
                f"it does not answer without {one_line(asked.name)}; a value that leaves rows out "
                "would lose them (a time: earliest and max_window_seconds ask for windows)"
            )


def _hidden_rows(one: StreamDraft, listing: Listing) -> None:
    """Parameters that leave rows out as long as nobody sets them."""
    cursor = one.said.get("cursor") or {}
    ours = {*one.said.get("params", {}), cursor.get("param"), cursor.get("until_param")}
    names = [
        asked.name
        for asked in listing.query
        if asked.name not in ours and not asked.required and _leaves_out(asked)
    ]
    if names:
        one.decide.append(
            f"{', '.join(one_line(name) for name in names)}: what is left out where none is given "
            "(rows that are deleted, inactive, of another status) is lost; say params if it is any"
        )


def _leaves_out(asked: Parameter) -> bool:
    said = set(words(asked.name))
    if said & _SHOWS and said & _PUT_AWAY:
        return True
    return asked.has_default and not says_pages(asked.name) and not says_order(asked.name)


def _rows(one: StreamDraft, listing: Listing, single: Single | None) -> None:
    """What tells deletions and errors, and where a list shows only part of its rows."""
    for each in listing.own_fields:
        flag = joined(each.name) in _DELETED_FLAGS and each.shape.kind == "boolean"
        moment = joined(each.name) in _DELETED_TIMES and each.shape.format in ("date", "date-time")
        if (flag or moment) and "tombstone" not in one.said:
            one.said["tombstone"] = {"path": each.path}
            one.decide.append(f"a row with {each.path} is taken for deleted, not for one to show")
    around = [each for each in listing.envelope if "." not in each.path]
    errors = [each.path for each in around if joined(each.name) in _ERRORS]
    if errors:
        one.said["error_if"] = errors
    proof = [each.path for each in around
             if joined(each.name) in _SUCCESS and each.shape.kind == "boolean"]  # fmt: skip
    if proof:
        one.said["require_true"] = proof
    key = one.said["id"]
    shown = {each.path for each in listing.fields if "." not in each.path}
    if single is None or not shown or not isinstance(key, str) or "." in key:
        return
    hidden = sorted(single.names - shown)
    if not hidden or PATH_PARAMETER.search(listing.path):
        return
    if key not in single.names:
        one.decide.append(
            f"a single row has {len(hidden)} more fields than the list, but not its key {key}: "
            "detail cannot fetch them, and they are lost"
        )
        return
    one.said["detail"] = PATH_PARAMETER.sub("{id}", single.path.lstrip("/"))
    if single.select != "$":
        one.said["detail_select"] = single.select
    one.decide.append(
        f"the list lacks {len(hidden)} fields of a single row, so each row is asked for by itself; "
        "without detail they are lost, with it a pull takes a request a row"
    )


def _proved_to_load(one: StreamDraft) -> None:
    """The description's own rules have the last word; what they refuse is swept, or read in full.

    A ``sweep`` is promised only where paging may lose rows between sweeps and nothing else helps.
    """
    if one.blocked:
        return
    pager_type = one.said.get("pager", {}).get("type")
    promise = _COUNTED if pager_type in ("page", "offset") else _MAY_COUNT
    for added, without, reason in (
        ({}, (), None),
        ({"sweep": True}, (), promise),
        ({}, ("cursor",), _LEFT_OUT),
        ({}, ("cursor", "detail", "tombstone"), _LEFT_OUT),
    ):
        said = {name: value for name, value in one.said.items() if name not in without}
        said |= added
        try:
            Stream.model_validate(said)
        except ValidationError as error:
            problems = sentences(error)
            continue
        one.said = said
        if reason is not None:
            one.decide.append(reason)
        return
    one.blocked += [f"it would not load: {problems[0]}"]
