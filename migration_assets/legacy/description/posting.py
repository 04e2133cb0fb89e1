"""Whether what cursor and pager send can be placed into a JSON body.

Belongs here: the check when a description is loaded. Does not belong here: filling the template
(``legacy.placement``).
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue

from migration_assets.legacy.description.change_time import Cursor
from migration_assets.legacy.description.paging import (
    LinkHeader,
    NextUrl,
    NextUrlHeader,
    PagerDescription,
    Walk,
    parameters_of,
)

CREDENTIAL_NAMES = frozenset(
    {"api_key", "apikey", "access_token", "auth_token", "client_secret", "password", "secret"}
)


def posting_problem(
    method: Literal["GET", "POST"],
    body: Mapping[str, JsonValue],
    pager: PagerDescription,
    cursor: Cursor | None,
) -> str | None:
    """What is wrong with the body of a request, as a sentence, or None."""
    if method == "GET":
        return "body: a GET has none; say method: POST" if body else None
    inner = pager.within_tie if isinstance(pager, Walk) else pager
    if isinstance(inner, NextUrl | NextUrlHeader | LinkHeader):
        return "pager: an address does not say what to post to it; use a pager with a param"
    if _names_a_credential(body):
        return "body: a credential does not belong there: use auth"
    bounds = (cursor.param, cursor.until_param) if cursor else ()
    names = [name for name in (*parameters_of(pager), *bounds) if name is not None]
    if len(set(names)) != len(names):
        return "two parameters go to one place in the body"
    for name in names:
        if not can_hold(body, name):
            return f"body: {name} leads through something that is not an object"
    return None


def can_hold(body: JsonValue | Mapping[str, JsonValue], name: str) -> bool:
    """Whether something can be put there without replacing what is no object."""
    place: JsonValue | Mapping[str, JsonValue] = body
    *through, last = name.split(".")
    for part in through:
        if not isinstance(place, Mapping) or not part:
            return False
        place = place.get(part, {})
    return isinstance(place, Mapping) and bool(last)


def _names_a_credential(value: JsonValue | Mapping[str, JsonValue]) -> bool:
    if isinstance(value, Mapping):
        return any(
            name.lower() in CREDENTIAL_NAMES or _names_a_credential(one)
            for name, one in value.items()
        )
    return isinstance(value, list) and any(_names_a_credential(one) for one in value)
