"""A phase written into the text of adoption.toml, everything else in it left as it stands (pure).

Belongs here: text → text. Does not belong here: reading or writing the file (``switching``).
"""

import re
from collections.abc import Iterable
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from migration_assets.adoption.standing import Phase, read_adoption
from migration_assets.errors import Permanent


def with_phase(
    text: str,
    types: Iterable[str],
    phase: Phase,
    *,
    cohort: str | None = None,
    name: str = "adoption.toml",
) -> str:
    """The same text with these types in ``phase``: comments, order and layout stay.

    A type declared by a table keeps its strategy, authority and cohorts; one that is not declared
    is added before the first table. With ``cohort`` only that part of each type is moved.

    Raises:
        Permanent: it is not what ``read_adoption`` takes, or a type declares no such cohort.
    """
    listed = list(types)
    declared = read_adoption(text, name=name)
    if cohort is not None:
        return _with_cohort(text, listed, phase, cohort, name)
    new = [each for each in listed if each in declared.missing(listed)]
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise Permanent(f"Reading {name} failed: it is not TOML ({error}).") from error
    for each in listed:
        if each in new:
            continue
        entry = document.get(each)
        if isinstance(entry, dict):
            entry["phase"] = phase.value
        else:
            document[each] = phase.value
    changed = _with_lines(document.as_string(), [f'{each} = "{phase.value}"\n' for each in new])
    read = read_adoption(changed, name=name)
    if any(read.standing(each).phase is not phase for each in listed):
        raise Permanent(f"{name} could not be changed. Set {', '.join(listed)} to {phase} in it.")
    return changed


def _with_cohort(text: str, types: list[str], phase: Phase, cohort: str, name: str) -> str:
    document: Any = tomlkit.parse(text)
    for each in types:
        declared = read_adoption(text, name=name).standing(each)
        if declared.cohort(cohort) is None:
            raise Permanent(
                f"{name} declares no cohort {cohort} of {each}. Types that are written together "
                "move together: declare it under each of them, with the same terms."
            )
        document[each]["cohorts"][cohort]["phase"] = phase.value
    changed = document.as_string()
    read, before = read_adoption(changed, name=name), read_adoption(text, name=name)
    meant = before.with_phase(types, phase, cohort=cohort)
    if any(read.standing(each) != meant.standing(each) for each in types):
        raise Permanent(f"{name} could not be changed. Set cohort {cohort} to {phase} in it.")
    return str(changed)


def _with_lines(text: str, new: list[str]) -> str:
    """Behind the last entry that is no table; tomlkit would part a table from its comment."""
    lines = text.splitlines(keepends=True)
    tables = (at for at, line in enumerate(lines) if line.lstrip().startswith("["))
    end = next(tables, len(lines))
    entries = [at for at in range(end) if re.match(r"\s*[^#\s]", lines[at])]
    if entries:
        end = entries[-1] + 1
    elif end < len(lines):  # a table comes first, perhaps below a comment of its own
        while end and lines[end - 1].lstrip().startswith("#"):
            end -= 1
        new = [*new, "\n"] if new else new
    if new and end and not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return "".join([*lines[:end], *new, *lines[end:]])
