"""Validation errors as sentences that name the place and never the value.

Belongs here: wording. Does not belong here: deciding what is wrong (the models do).
"""

import re

from pydantic import ValidationError

_SHOWN = 12
_FIELD = re.compile(r"[a-z][a-z_]{0,40}")


def sentences(error: ValidationError) -> list[str]:
    """One line per problem: field path and what is wrong, without what was written there."""
    found: list[str] = []
    for problem in error.errors(include_url=False, include_input=False):
        line = _sentence(problem["type"], problem["msg"], problem.get("ctx", {}))
        place = _place(_shown(problem["type"], problem["loc"]))
        text = f"{place}: {line}" if place else line
        if text not in found:
            found.append(text)
    if len(found) > _SHOWN:
        found = [*found[:_SHOWN], f"and {len(found) - _SHOWN} more"]
    return found


def _shown(kind: str, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place without a name that no field could have: YAML takes {secret} for a mapping."""
    unknown = kind == "extra_forbidden" and not _FIELD.fullmatch(str(location[-1]))
    return (*location[:-1], "(a name that is not shown)") if unknown else location


def _sentence(kind: str, message: str, context: dict[str, object]) -> str:
    """Pydantic's own words, but for those that would quote the value."""
    if kind == "union_tag_invalid":
        return f"type should be one of {context.get('expected_tags', '')}"
    if kind == "union_tag_not_found":
        return "should say its type"
    if kind == "extra_forbidden":
        return "is not a field of a description here"
    return message.removeprefix("Value error, ")


def _place(location: tuple[int | str, ...]) -> str:
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return place
