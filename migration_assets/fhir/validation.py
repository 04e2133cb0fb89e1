"""Validation: what is wrong with a resource, found before it is sent.

Belongs here: the fhir.resources R4B models, and what they and the server let through
(contract §10). Does not belong here: correcting anything, or what a problem means for a row
(``preparation`` quarantines it). A problem names the element and a reason, never the value.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from pydantic import ValidationError

from migration_assets.fhir.structure import Element, Shape, resource_shape
from migration_assets.mapping import Resource


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: an element path (``Patient.name[0].family``) and a kebab-case reason."""

    path: str
    reason: str


Fault = tuple[str, str]
"""Path below the element looked at, and reason: a path is put together only when it is needed."""

Structure = tuple[Any, ...]
"""Names of elements and, after each that holds others, the structures of those."""

_NAME_BYTES: Final = 2_700
"""A longer name or address breaks a database index of the server, which says 400 (contract §10)."""

_REPEATED: Final = frozenset({"CodeableConcept", "Coding", "Meta"})
"""Types of which the same few values come again and again: codes are half of a resource."""

_TARGET: Final = re.compile(r"(?:https?://\S+/)?([A-Z][A-Za-z]+)[/?]")

_REASONS: Final = {
    "extra_forbidden": "unknown-property",
    "missing": "missing-required",
    "model_field_validation.missing": "missing-required",
}


def problems(resource: Resource) -> tuple[Problem, ...]:
    """Everything wrong with a resource, in document order; empty when it may be sent."""
    kind = resource.get("resourceType")
    shape = resource_shape(kind) if isinstance(kind, str) else None
    if shape is None:
        return (Problem("resourceType", "unknown-type"),)
    found = [Problem(shape.name + path, reason) for path, reason in _faults(resource, shape)]
    if not resource.get("identifier") and "identifier" in shape.elements:
        found.append(Problem(f"{shape.name}.identifier", "identifier-missing"))
    if not found and _passes(resource, shape):
        return ()
    if all(each.reason != "unknown-type" for each in found):  # the models raise KeyError for it
        told = [each.path for each in found]
        found += [each for each in _model_problems(resource, shape) if not _told(each, told)]
    return tuple(found)


def _told(problem: Problem, told: list[str]) -> bool:
    """Whether the models say again, at, in or around its place, what is told already."""
    around = problem.reason != "missing-required"
    return any(
        problem.path.startswith(path) or (around and path.startswith(problem.path)) for path in told
    )


_STRUCTURES: Final[set[Structure]] = set()
_STRUCTURES_MOST: Final = 16_384


def _passes(resource: Resource, shape: Shape) -> bool:
    """Whether the models find nothing in a resource whose every value the walk found sound.

    What is left to them then depends on the structure alone: what is required, which choices are
    taken. So they run once for each structure: they are half of a row's CPU otherwise. A test
    holds the two ways against each other.
    """
    structure = (shape.name, _structure(resource, shape))
    if structure in _STRUCTURES:
        return True
    if _model_faults(resource, shape):
        return False
    if len(_STRUCTURES) >= _STRUCTURES_MOST:
        _STRUCTURES.clear()
    _STRUCTURES.add(structure)
    return True


def _structure(node: dict[str, Any], shape: Shape) -> Structure:
    """Which elements are there, without their values; codes were held against a model alone."""
    elements = shape.elements
    parts: list[Any] = []
    for name, value in node.items():
        parts.append(name)
        element = elements[name]
        if element.check is None and (element.shape is None or element.shape.name not in _REPEATED):
            items = value if element.many else (value,)
            parts.append(
                tuple(_structure(each, element.shape or _contained_shape(each)) for each in items)
            )
    return tuple(parts)


def _contained_shape(resource: Resource) -> Shape:
    shape = resource_shape(str(resource["resourceType"]))
    if shape is None:  # the walk has said so already, and nothing comes here
        raise KeyError("resourceType")
    return shape


def _model_faults(node: dict[str, Any], shape: Shape) -> list[Fault]:
    """What the models find, as faults."""
    try:
        shape.model.model_validate(node)
    except ValidationError as error:
        # Not str(error), input or context: they repeat the patient's data.
        details = error.errors(include_url=False, include_input=False, include_context=False)
        return [
            ("".join(map(_step, each["loc"])), _reason(each["type"], each["msg"]))
            for each in details
        ]
    except (AttributeError, TypeError):
        # fhir_core 1.1 itself trips over a url that is not a text; the walk has said what is wrong,
        # and had it not, what the models could not read must not be sent.
        return [("", "unreadable-to-models")]
    return []


def _model_problems(resource: Resource, shape: Shape) -> list[Problem]:
    return [Problem(shape.name + path, why) for path, why in _model_faults(resource, shape)]


def _reason(kind: str, message: str) -> str:
    """A reason for one of pydantic's; ``message`` only tells two uses of one kind apart."""
    if kind == "value_error" and "Expect any of field value" in message:
        return "missing-required"
    if kind == "value_error" and "but got multiple" in message:
        return "choice-conflict"
    return _REASONS.get(kind) or kind.replace("_", "-").replace(".", "-")


def _step(part: int | str) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def _faults(node: dict[str, Any], shape: Shape) -> list[Fault]:
    found: list[Fault] = []
    elements = shape.elements
    for name, value in node.items():
        element = elements.get(name)
        if element is None:
            found.append((f".{name}", "unknown-property"))
        elif element.many:
            found += _list_faults(name, value, element)
        elif element.check is not None:  # as in _item_faults; most elements end here
            fault = element.check(value)
            if fault is not None:
                found.append((f".{name}", fault))
        else:
            found += [(f".{name}{path}", why) for path, why in _item_faults(value, element)]
    if shape.choices:
        taken = [shape.choices[name] for name in node if name in shape.choices]
        twice = {each for each in taken if taken.count(each) > 1}
        found += [(f".{each}[x]", "choice-conflict") for each in sorted(twice)]
    further = _FURTHER.get(shape.name)
    return found if further is None else [*found, *further(node)]


def _list_faults(name: str, value: Any, element: Element) -> list[Fault]:
    if type(value) is not list:
        return [(f".{name}", "null" if value is None else "wrong-json-type")]
    if not value:
        return [(f".{name}", "empty-array")]
    return [
        (f".{name}[{index}]{path}", why)
        for index, item in enumerate(value)
        for path, why in _item_faults(item, element)
    ]


def _item_faults(value: Any, element: Element) -> list[Fault]:
    if element.check is not None:
        reason = element.check(value)
        return [("", reason)] if reason else []
    if type(value) is not dict:
        return [("", "null" if value is None else "wrong-json-type")]
    if not value:
        return [("", "empty-object")]
    shape = element.shape or resource_shape(str(value.get("resourceType")))
    if shape is None:
        return [(".resourceType", "unknown-type")]
    found = _repeated_faults(value, shape) if shape.name in _REPEATED else _faults(value, shape)
    if element.targets is not None:
        target = _target(value.get("reference"))
        if target is not None and target not in element.targets:
            found.append((".reference", "wrong-reference-type"))
    if element.concept is not None and not found and not _bound(value, element.concept):
        found.append((".coding", "unknown-code"))
    return found


_FAULTLESS: Final[set[tuple[str, bytes]]] = set()
_FAULTLESS_MOST: Final = 4_096


def _repeated_faults(value: dict[str, Any], shape: Shape) -> list[Fault]:
    """The faults of a code, which is looked into only the first time it is met."""
    try:
        text = (shape.name, orjson.dumps(value))
    except TypeError:  # nothing JSON can say: the walk finds what
        return _faults(value, shape)
    if text in _FAULTLESS:
        return []
    found = _faults(value, shape) or _model_faults(value, shape)
    if not found:
        if len(_FAULTLESS) >= _FAULTLESS_MOST:
            _FAULTLESS.clear()
        _FAULTLESS.add(text)
    return found


def _target(text: Any) -> str | None:
    """The type a reference points to; None where it does not say (urn, contained, logical)."""
    form = _TARGET.match(text) if isinstance(text, str) else None
    return form[1] if form else None


def _bound(concept: dict[str, Any], allowed: Mapping[str, frozenset[str]]) -> bool:
    """Whether some coding of the concept is one that its required binding allows."""
    return any(
        each.get("code") in allowed.get(each.get("system", ""), ())
        for each in concept.get("coding", ())
    )


def _identifier_faults(node: dict[str, Any]) -> list[Fault]:
    """The server trims what it indexes and what it is asked for, but not alike (contract §2)."""
    return [
        (f".{name}", "identifier-padded")
        for name in ("system", "value")
        if isinstance(value := node.get(name), str) and value.strip() and value != value.strip()
    ]


def _length_faults(node: dict[str, Any]) -> list[Fault]:
    texts = [
        text
        for value in node.values()
        for text in (value if isinstance(value, list) else (value,))
        if isinstance(text, str)
    ]
    if 4 * sum(map(len, texts)) <= _NAME_BYTES:
        return []
    size = sum(len(text.encode(errors="surrogatepass")) for text in texts)
    return [("", "text-too-long")] if size > _NAME_BYTES else []


_FURTHER: Final[dict[str, Callable[[dict[str, Any]], list[Fault]]]] = {
    "Address": _length_faults,
    "HumanName": _length_faults,
    "Identifier": _identifier_faults,
}
