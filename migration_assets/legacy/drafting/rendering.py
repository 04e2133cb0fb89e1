"""The draft as YAML: what streams share once, under ``defaults``; one line a stream.

Belongs here: layout and the comments. Does not belong here: what is drafted. A comment holds text
of the document only on one line and without control characters, so that none can become YAML.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from migration_assets.legacy.drafting.streams import StreamDraft
from migration_assets.legacy.drafting.words import one_line

_WIDTH = 100
_NEUTRAL: Mapping[str, Any] = {
    "path": None, "select": "$", "id": [], "params": {}, "pager": {"type": "none"},
    "cursor": None, "sweep": False, "tombstone": None, "error_if": [], "require_true": [],
    "detail": None, "detail_select": "$", "parent": None,
}  # fmt: skip
_FEW = 3


def rendered(head: Mapping[str, Any], comments: Mapping[str, Sequence[str]],
             streams: Sequence[StreamDraft], notes: Sequence[str]) -> str:  # fmt: skip
    """The whole description. ``comments`` stand above the field of ``head`` they are about."""
    lines: list[str] = []
    for each in notes:
        lines += _comment(each)
    for name, value in head.items():
        for each in comments.get(name, ()):
            lines += _comment(f"decide: {each}.")
        lines.append(f"{name}: {_flow(value)}")
    ready = [_shared_path(one) for one in streams if not one.blocked]
    defaults = _defaults(ready)
    if defaults:
        lines.append("defaults:")
        lines += [f"  {name}: {_flow(value)}" for name, value in defaults.items()]
    for said in _decisions(streams):
        lines += _comment(said)
    lines += _suggestions(streams)
    if not ready and not defaults:
        lines += ["defaults: {path: '{stream}'}"]
    lines.append("streams:" if ready else "streams: []")
    lines += [f"  - {_flow(_less(said, defaults))}" for said in ready]
    for one in streams:
        if one.blocked:
            reasons = dict.fromkeys((*one.blocked, *one.decide))
            lines += _comment(f"decide: {one.name} is left out: {'; '.join(reasons)}.")
            lines.append(f"#  - {_flow(one.said)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value on one line, in ASCII, quoted as YAML needs it."""
    if isinstance(value, str):
        value = [value]
        return _flow(value)[1:-1]
    told = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return str(told).removesuffix("...\n").strip()


def _comment(told: str) -> list[str]:
    return textwrap.wrap(
        one_line(told, 2_000), _WIDTH, initial_indent="# ", subsequent_indent="#   ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _decisions(streams: Sequence[StreamDraft]) -> Iterator[str]:
    """Each sentence once, with the streams it is about."""
    ready = [one for one in streams if not one.blocked]
    about: dict[str, list[str]] = {}
    for one in ready:
        for said in dict.fromkeys(one.decide):
            about.setdefault(said, []).append(one.name)
    for said, names in about.items():
        yield f"decide: {_of(names, len(ready))}: {said}."


def _suggestions(streams: Sequence[StreamDraft]) -> Iterator[str]:
    """Cursors that lack an answer, each whole on a line of its own: they are there to be copied."""
    about: dict[str, list[str]] = {}
    for one in streams:
        if not one.blocked and one.suggested is not None:
            about.setdefault(_flow(one.suggested), []).append(one.name)
    for cursor, names in about.items():
        yield f"#   for {_of(names, len(streams))}, once decided: cursor: {cursor}"


def _of(names: Sequence[str], count: int) -> str:
    if len(names) == count and count > 1:
        return "every stream"
    if len(names) > _FEW + 1:
        return f"{', '.join(names[:_FEW])} and {len(names) - _FEW} more"
    return ", ".join(names)


def _shared_path(one: StreamDraft) -> dict[str, Any]:
    """The path with ``{stream}`` where it ends in the stream's name, so that many are one."""
    said, path = dict(one.said), str(one.said["path"])
    head, _, last = path.rstrip("/").rpartition("/")
    if last.partition(".")[0] == one.name or last == one.name:
        tail = path[len(f"{head}/") if head else 0 :][len(one.name) :]
        said["path"] = f"{head}/{{stream}}{tail}" if head else f"{{stream}}{tail}"
    return said


def _defaults(ready: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What more than half of the streams say alike."""
    found: dict[str, Any] = {}
    if len(ready) == 1:
        return found
    for name in _NEUTRAL:
        told = Counter(json.dumps(said[name], sort_keys=True) for said in ready if name in said)
        if not told:
            continue
        most, count = told.most_common(1)[0]
        if count * 2 > len(ready):
            found[name] = next(
                said[name] for said in ready
                if name in said and json.dumps(said[name], sort_keys=True) == most
            )  # fmt: skip
    return found


def _less(said: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stream without what the defaults say; and without what they say and it does not."""
    own = {name: value for name, value in said.items() if defaults.get(name) != value}
    missing: Iterable[str] = [name for name in defaults if name not in said]
    return {**own, **{name: _NEUTRAL[name] for name in missing}}
