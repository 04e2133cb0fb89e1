"""A description from a YAML file or text.

Belongs here: reading and the one error it can raise. Does not belong here: what a description may
say.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from migration_assets.errors import Permanent
from migration_assets.legacy.description.problems import sentences
from migration_assets.legacy.description.source import Source


class _TwiceIsAnError(yaml.SafeLoader):
    """SafeLoader takes the last of two equal keys: half of a description would vanish silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        own = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(own)) != len(own):
            raise yaml.constructor.ConstructorError(None, None, "twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def load_description(path_or_text: Path | str) -> Source:
    """Read a source description from a file, or from YAML text.

    A ``str`` with a line break or ``: `` in it is text, any other is a file's name.

    Raises:
        Permanent: naming the file, the field and what is wrong with it, never what it holds.
    """
    text, name = _read(path_or_text)
    raw = _parse(text, name)
    try:
        return Source.model_validate(raw)
    except ValidationError as error:
        found = sentences(error)
    raise Permanent(
        f"the source description {name} cannot be used:\n" + "\n".join(f"  {one}" for one in found)
    )


def _read(path_or_text: Path | str) -> tuple[str, str]:
    if isinstance(path_or_text, str) and ("\n" in path_or_text or ": " in path_or_text):
        return path_or_text, "(text)"
    name = str(path_or_text)
    try:
        return Path(path_or_text).read_text(encoding="utf-8"), name
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise Permanent(f"the source description {name} cannot be read: {reason}")


def _parse(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_TwiceIsAnError)  # noqa: S506  a SafeLoader, only stricter
    except yaml.MarkedYAMLError as error:
        # PyYAML's message quotes the line; only where it is may be told.
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "an unknown line"
        reason = "a field stands twice" if error.problem == "twice" else "this is not YAML"
    except (yaml.YAMLError, ValueError, RecursionError):
        where, reason = "an unknown line", "this is not YAML"
    raise Permanent(f"the source description {name} cannot be read: {reason} at {where}")
