"""The fields a row model declares, as the register lists them.

Belongs here: reading pydantic models. Does not belong here: rows. Paths are those of ``places``:
``components[].code``.
"""

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

_NAMES = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "anything"}


@dataclass(frozen=True)
class ModelField:
    """One field of a row model; ``about`` is its description, if it was given one."""

    path: str
    type: str
    required: bool
    about: str | None


def model_fields(model: type[BaseModel], under: str = "") -> Iterator[ModelField]:
    """Every field that holds a value, those of nested models included."""
    for name, field in model.model_fields.items():
        path = under + (field.alias or name)
        kind, items = _inner(field.annotation)
        path += items
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from model_fields(kind, f"{path}.")
        else:
            yield ModelField(path, _named(kind), field.is_required(), field.description)


def _inner(annotation: Any) -> tuple[Any, str]:
    """The type without None, Annotated and lists, and a ``[]`` for each list."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _inner(arguments[0])
    if origin in (typing.Union, types.UnionType):
        rest = [each for each in arguments if each is not type(None)]
        return _inner(rest[0]) if len(rest) == 1 else (annotation, "")
    if origin in (list, tuple, set, frozenset) and arguments:
        kind, items = _inner(arguments[0])
        return kind, f"[]{items}"
    return annotation, ""


def _named(kind: Any) -> str:
    if kind in _NAMES:
        return _NAMES[kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [each for each in typing.get_args(kind) if each is not type(None)]
        return " or ".join(_named(each) for each in parts)
    return getattr(kind, "__name__", str(kind))
