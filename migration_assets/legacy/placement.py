"""Where the parameters of a page go: into the query, or into the JSON body of a POST.

Belongs here: filling the template. Does not belong here: which parameters there are (``pagers``,
``timestamps``), or whether they fit (``description.posting``).
"""

import copy
from typing import Any, TypeAlias

from migration_assets.legacy.description import Stream

Parameters: TypeAlias = tuple[tuple[str, str], ...]


def placed(stream: Stream, params: Parameters) -> tuple[Parameters, Any]:
    """The query, and the body or None."""
    if stream.method == "GET":
        return params, None
    body: dict[str, Any] = copy.deepcopy(dict(stream.body))
    for name, value in params:
        if name not in stream.params:
            _put(body, name.split("."), value)
    return tuple(pair for pair in params if pair[0] in stream.params), body


def _put(body: dict[str, Any], path: list[str], value: str) -> None:
    """A number where the template shows one: GraphQL refuses "100" for an Int."""
    for part in path[:-1]:
        body = body.setdefault(part, {})
    shown = body.get(path[-1])
    is_number = isinstance(shown, int) and not isinstance(shown, bool)
    body[path[-1]] = int(value) if is_number and value.lstrip("-").isdecimal() else value
