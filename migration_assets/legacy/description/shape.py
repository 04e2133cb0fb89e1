"""What every part of a description shares: the frozen model, secret references, field types.

Belongs here: types used by more than one part. Does not belong here: anything that opens the
environment; a description only *names* variables, ``legacy.environment`` reads them.
"""

import re
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_A_REFERENCE = (
    "a secret is written as {env: NAME_OF_THE_VARIABLE}; "
    "the value itself never stands in a description"
)


class Described(BaseModel):
    """Base of every part: frozen, an unknown field is an error, and no input shows in errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, str_strip_whitespace=False
    )


class EnvironmentReference(Described):
    """The name of an environment variable, standing where its value must not."""

    env: str


def _reference(value: Any) -> Any:
    """Refuse whatever is not ``{env: NAME}`` without a word of what it was."""
    if isinstance(value, EnvironmentReference):
        return value
    if not isinstance(value, dict) or set(value) != {"env"}:
        raise ValueError(_NOT_A_REFERENCE)
    name = value["env"]
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ValueError("env takes the name of a variable: letters, digits and _")
    return EnvironmentReference(env=name)


def _text_or_reference(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict | EnvironmentReference):
        raise ValueError("should be text or {env: NAME_OF_THE_VARIABLE}")  # noqa: TRY004  pydantic turns only ValueError into a located problem
    return _reference(value)


def _text_of_number(value: Any) -> Any:
    """``per_page: 100`` may stand without quotes; YAML's yes, no, true and 1.0 may not.

    YAML reads ``yes`` as true: what was meant to be sent can no longer be known.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError('write it in quotes, exactly as it must be sent: "true", "1.0"')  # noqa: TRY004  as above
    return value


def _several(value: Any) -> Any:
    """One name may stand without brackets."""
    return (value,) if isinstance(value, str) else value


def _one_or_several(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Secret: TypeAlias = Annotated[EnvironmentReference, BeforeValidator(_reference)]
"""A reference to a secret; an inline string is refused."""

TextOrReference: TypeAlias = Annotated[
    str | EnvironmentReference, BeforeValidator(_text_or_reference)
]
"""Text that may differ from one installation to the next (a base URL)."""

Dotted: TypeAlias = Annotated[str, Field(pattern=r"^(\$|[^.\s]+(\.[^.\s]+)*)$")]
"""A path into JSON: names and list positions with dots between them; ``$`` is the whole body."""

DottedNames: TypeAlias = Annotated[tuple[Dotted, ...], BeforeValidator(_several)]

QueryValue: TypeAlias = Annotated[str, BeforeValidator(_text_of_number)]

QueryValues: TypeAlias = Annotated[tuple[QueryValue, ...], BeforeValidator(_one_or_several)]
"""What a parameter is sent with, several times over if it has several values."""

ParameterName: TypeAlias = Annotated[str, Field(min_length=1)]


def path_below_base(value: str) -> str:
    """A path relative to ``base_url``, unchanged.

    Raises:
        ValueError: it could lead elsewhere, or holds a query.
    """
    if "://" in value or value.startswith("//") or ".." in value.split("/"):
        raise ValueError("should be relative to base_url and stay below it")
    if "?" in value or "#" in value:
        raise ValueError("should hold no query: use params")
    return value
