"""What each FHIR type is made of: elements, their types, codes and reference targets.

Belongs here: shapes, read once from the fhir.resources R4B models, with the required codes and
reference targets of R4 from ``r4_rules.json`` (fhir.resources cuts its code lists short with a
``+`` and holds R4B's targets; Medplum is R4). Does not belong here: walking a resource
(``validation``). The file is made from FHIR's definitions by its own test, with
``--update-golden``.
"""

import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from fhir.resources.R4B import get_fhir_model_class
from fhir_core.constraints import FHIR_PRIMITIVES_MAPS
from fhir_core.fhirabstractmodel import FHIRAbstractModel
from fhir_core.types import FhirBase
from pydantic.fields import FieldInfo

from migration_assets.fhir.primitives import CHECKS, Check, code_of

_RULES: Final = Path(__file__).parent / "r4_rules.json"


@dataclass(frozen=True, slots=True)
class Element:
    """One element: a primitive has a ``check``, any other a ``shape`` (None: any resource).

    ``concept`` holds the required codes by system of a CodeableConcept, ``targets`` the types a
    reference may point to, ``choice`` the name of the ``value[x]`` this is one of.
    """

    many: bool
    check: Check | None = None
    shape: "Shape | None" = None
    choice: str | None = None
    concept: Mapping[str, frozenset[str]] | None = None
    targets: frozenset[str] | None = None


class Shape:
    """The elements of one type or backbone element; worked out when first asked for."""

    def __init__(self, model: type[FHIRAbstractModel], path: str) -> None:
        self.model = model
        self.path = path
        self.name = model.get_resource_type()
        self.backbone = "." in path

    @cached_property
    def elements(self) -> dict[str, Element]:
        """The elements by their JSON names."""
        found = {
            field.alias or name: _element(field, field.alias or name, self.path)
            for name, field in self.model.model_fields.items()
            if name != "fhir_comments"
        }
        if self.model.has_resource_base():
            found["resourceType"] = Element(many=False, check=CHECKS["code"])
        return found

    @cached_property
    def choices(self) -> dict[str, str]:
        """``valueString`` → ``value``, for every element that is one of a choice."""
        return {name: each.choice for name, each in self.elements.items() if each.choice}


@cache
def resource_shape(resource_type: str) -> Shape | None:
    """The shape of a resource type; None when FHIR has no such type."""
    try:
        model = get_fhir_model_class(resource_type)
    except ValueError:
        return None
    return _shape(model, resource_type) if model.has_resource_base() else None


@cache
def _rules() -> Any:
    return json.loads(_RULES.read_bytes())


@cache
def _codes(value_set: str) -> dict[str, frozenset[str]]:
    systems = _rules()["value_sets"][value_set]
    return {system: frozenset(codes) for system, codes in systems.items()}


_shapes: dict[type[FHIRAbstractModel], Shape] = {}


def _shape(model: type[FHIRAbstractModel], path: str) -> Shape:
    """A type has one shape wherever it is used; a backbone element, that of its first place."""
    return _shapes.setdefault(model, Shape(model, path))


def _element(field: FieldInfo, name: str, parent: str) -> Element:
    kind, many = _kind(field.annotation)
    extra = field.json_schema_extra
    choice = extra.get("one_of_many") if isinstance(extra, dict) else None
    choice = choice if isinstance(choice, str) else None
    path = f"{parent}.{choice}[x]" if choice else f"{parent}.{name}"
    rules = _rules()
    if isinstance(kind, str):
        value_set = rules["codes"].get(path) if kind == "code" else None
        if value_set is None:
            return Element(many, CHECKS[kind], choice=choice)
        return Element(many, code_of(frozenset().union(*_codes(value_set).values())), choice=choice)
    if kind.get_resource_type() == "Resource":
        return Element(many)
    # fhir.resources keeps a type in the module of its name, and its backbone elements with it.
    own = kind.__module__.rpartition(".")[2] == kind.get_resource_type().lower()
    targets = rules["targets"].get(path) if kind.get_resource_type() == "Reference" else None
    bound = rules["concepts"].get(path)
    return Element(
        many,
        shape=_shape(kind, kind.get_resource_type() if own else path),
        choice=choice,
        concept=_codes(bound) if bound else None,
        targets=frozenset(targets) if targets else None,
    )


def _kind(annotation: Any) -> tuple[str | type[FHIRAbstractModel], bool]:
    """The primitive's name or the model of an annotation, and whether it repeats."""
    many = False
    while True:
        if annotation in FHIR_PRIMITIVES_MAPS:
            return FHIR_PRIMITIVES_MAPS[annotation], many
        if isinstance(annotation, type) and issubclass(annotation, FhirBase):
            return annotation.get_model_klass(), many
        many = many or typing.get_origin(annotation) is list
        annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
