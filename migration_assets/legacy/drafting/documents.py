"""From bytes to an OpenAPI document: JSON or YAML, version, references inside it.

Belongs here: parsing, and looking things up in whatever came, which may be anything. Does not
belong here: what a path or a schema means. A reference to another file or host is reported and
never followed: it would let a document choose what we fetch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import yaml

from migration_assets.errors import Permanent

LARGEST_DOCUMENT = 16 << 20  # bytes; the largest public ones (GitHub, Stripe) hold 5 to 12 MB

_BOOLEAN, _TIMESTAMP = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"
_DEEPEST, _MOST_MERGED, _MOST_NAMES = 200, 50, 20_000


class _Yaml12(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where there is C
    """YAML as OpenAPI means it: a parameter called ``on`` is not true, a date stays text."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge ``<<`` within bounds: a dozen that double each other would fill the memory."""
        for key, value in node.value:
            many = isinstance(value, yaml.SequenceNode) and len(value.value) > _MOST_MERGED
            if key.tag == _MERGE and many:
                raise yaml.constructor.ConstructorError(None, None, "merges", node.start_mark)
        super().flatten_mapping(node)
        if len(node.value) > _MOST_NAMES:
            raise yaml.constructor.ConstructorError(None, None, "too large", node.start_mark)


_Yaml12.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag != _TIMESTAMP and (tag != _BOOLEAN or first in "tTfF")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parsed(body: bytes) -> Any:
    """The JSON or YAML value of a body.

    Raises:
        ValueError: it is neither; the message says nothing of what it held.
    """
    if body.startswith(b"\xef\xbb\xbf"):
        body = body[3:]
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        told = body.decode()
        if _is_shallow(told):
            return yaml.load(told, Loader=_Yaml12)  # noqa: S506  a SafeLoader, only stricter
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, MemoryError):
        pass
    raise ValueError("neither JSON nor YAML")


def _is_shallow(told: str) -> bool:
    """False for what libyaml would follow until the stack is full: a crash, not an error."""
    depth = 0
    for event in yaml.parse(told, Loader=_Yaml12):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return False
    return True


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def text(value: Any) -> str:
    """The value if it is text, else blank."""
    return value if isinstance(value, str) else ""


class Document:
    """An OpenAPI 3.0, 3.1 or Swagger 2.0 document.

    ``not_followed`` are the files that references lead to outside of it, ``broken`` counts the
    references that lead nowhere inside it.
    """

    def __init__(self, root: Mapping[str, Any], version: str, url: str | None = None) -> None:
        self.root, self.version, self.url = root, version, url
        self.not_followed: list[str] = []
        self.broken = 0
        self._missing: set[str] = set()

    @property
    def is_swagger(self) -> bool:
        """True for version 2.0, which keeps most things elsewhere."""
        return self.version.startswith("2")

    def resolve(self, value: Any) -> Mapping[str, Any]:
        """The object itself, or the one its ``$ref`` leads to; empty if there is none."""
        seen: set[str] = set()
        found = mapping(value)
        while isinstance(reference := found.get("$ref"), str):
            if reference in seen:
                return {}
            seen.add(reference)
            found = mapping(self._inside(reference))
        return found

    def _inside(self, reference: str) -> Any:
        file, _, pointer = reference.partition("#")
        if file:
            if file not in self.not_followed:
                self.not_followed.append(file)
            return None
        place: Any = self.root
        for part in pointer.split("/")[1:] if pointer.startswith("/") else ["#"]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(place, list) and name.isascii() and name.isdecimal() and len(name) < 7:  # noqa: PLR2004  more digits than any list has items
                place = place[int(name)] if int(name) < len(place) else None
            else:
                place = mapping(place).get(name)
        if place is None and reference not in self._missing:
            self._missing.add(reference)
            self.broken += 1
        return place


def document_of(value: Any, *, url: str | None = None, where: str) -> Document:
    """A parsed value as a document; ``url`` is where it came from, if from there.

    Raises:
        Permanent: it is no OpenAPI document of a version we read.
    """
    _name_by_text(value)
    root = mapping(value)
    openapi, swagger = root.get("openapi"), root.get("swagger", root.get("swaggerVersion"))
    version = str(openapi if openapi is not None else swagger or "")[:8]
    if not version.startswith(("3.", "2.0")) and version != "2":
        said = "it names neither openapi nor swagger" if not version else "its version is another"
        raise Permanent(
            f"{where} is no OpenAPI 3 or Swagger 2.0 document: {said}; "
            "ask the vendor for the machine-readable form (openapi.json), not the page about it"
        )
    if not mapping(root.get("paths")):
        raise Permanent(f"{where} describes no paths: there is nothing to draft from")
    return Document(root, version, url)


def _name_by_text(value: Any) -> None:
    """YAML reads the status ``200:`` as a number; every name becomes text, once and in place."""
    left, seen = [value], set()
    while left:
        one = left.pop()
        if not isinstance(one, dict | list) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            if not all(isinstance(name, str) for name in one):
                named = {str(name): content for name, content in one.items()}
                one.clear()
                one.update(named)
            left.extend(one.values())
        else:
            left.extend(one)


def read_document(file: Path) -> Document:
    """A document from a file.

    Raises:
        Permanent: it cannot be read, or is none.
    """
    where = f"the file {file}"
    try:
        with file.open("rb") as opened:
            body = opened.read(LARGEST_DOCUMENT + 1)
    except OSError as error:
        raise Permanent(f"{where} cannot be read: {error.strerror}") from None
    if len(body) > LARGEST_DOCUMENT:
        raise Permanent(f"{where} is larger than {LARGEST_DOCUMENT >> 20} MiB: no OpenAPI document")
    try:
        value = parsed(body)
    except ValueError:
        value = None
    if value is None:
        raise Permanent(f"{where} is neither JSON nor YAML")
    return document_of(value, url=None, where=where)
