"""Element paths: what stands at one, and a resource with another reference there (pure).

Belongs here: paths as findings name them, ``Observation.performer[0]``. Does not belong here:
finding references in a resource (``fhir.references``).
"""

import copy
import re
from typing import Any

from migration_assets.mapping import Resource

_STEP = re.compile(r"([A-Za-z]\w*)((?:\[\d+\])*)")


def reference_at(resource: Resource, path: str) -> str | None:
    """The literal reference at an element path; None where there is none."""
    node: Any = resource
    for step in _way(path):
        node = _below(node, step)
    found = node.get("reference") if isinstance(node, dict) else None
    return found if isinstance(found, str) else None


def with_reference(resource: Resource, path: str, literal: str) -> Resource | None:
    """A copy that refers to ``literal`` at a path, and to nothing else there.

    A display, a type or an identifier beside it spoke of what it led to before. None where the
    element that held it is gone: in a list nobody knows where it belongs now.
    """
    made = copy.deepcopy(resource)
    *way, last = _way(path)
    node: Any = made
    for step in way:
        node = _below(node, step)
    if isinstance(node, dict) and isinstance(last, str):
        node[last] = {"reference": literal}
        return made
    if isinstance(node, list) and isinstance(last, int) and last < len(node):
        node[last] = {"reference": literal}
        return made
    return None


def _way(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for name, indices in _STEP.findall(path.partition(".")[2]):
        steps.append(name)
        steps += [int(each) for each in re.findall(r"\d+", indices)]
    return steps


def _below(node: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return node[step] if isinstance(node, list) and step < len(node) else None
    return node.get(step) if isinstance(node, dict) else None
