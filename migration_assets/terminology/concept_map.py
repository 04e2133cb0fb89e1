"""Concept maps: reading ``maps/*.csv`` and translating one local code.

Belongs here: the file format and its faults. Does not belong here: what a mapping does with an
unmapped code (``codes``, ``mappings``).

A map has the columns ``local_code, local_display, system, code, display``. Several lines with one
local code give it several standard codings; blank standard columns say that the code is known
here but has no standard one.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from migration_assets.errors import Permanent
from migration_assets.fhir.elements import Element, coding
from migration_assets.fhir.identifiers import local_system

_MAPS: Final = Path(__file__).parent / "maps"
_COLUMNS: Final = ("local_code", "local_display", "system", "code", "display")


_HEARD: Final[ContextVar[list[tuple[str, str]] | None]] = ContextVar("heard", default=None)


@contextmanager
def lookups() -> Iterator[list[tuple[str, str]]]:
    """Hear which maps are asked for which local codes meanwhile, for the mapping register."""
    heard: list[tuple[str, str]] = []
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)


@dataclass(frozen=True)
class Translation:
    """What a map says of a local code: its own coding, and the standard ones if there are any."""

    local: Element
    standard: tuple[Element, ...]


@dataclass(frozen=True)
class Unmapped:
    """A local code the map does not have; ``local`` is its own coding, without a display."""

    local: Element


@dataclass(frozen=True)
class ConceptMap:
    """The local codes of one kind; ``system`` is under which URI the source's own are kept."""

    name: str
    system: str
    translations: Mapping[str, Translation]

    def translate(self, local_code: str) -> Translation | Unmapped:
        """What the map says of a code; matched exactly, as the source wrote it."""
        heard = _HEARD.get()
        if heard is not None:
            heard.append((self.name, local_code))
        return self.translations.get(local_code) or Unmapped(coding(self.system, local_code))


@cache
def concept_map(name: str) -> ConceptMap:
    """The concept map ``maps/<name>.csv``, read once.

    Raises:
        Permanent: the file is missing or at fault; the message names it and the line.
    """
    return load(_MAPS / f"{name}.csv")


def load(path: Path) -> ConceptMap:
    """Read one concept map; ``encounter_type.csv`` keeps local codes under ``encounterTypeId``.

    Raises:
        Permanent: as ``concept_map``.
    """
    first, *rest = path.stem.split("_")
    system = local_system(f"{first}{''.join(map(str.capitalize, rest))}Id")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return ConceptMap(path.stem, system, _translations(file, path, system))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Permanent(
            f"Reading the concept map {path}: {type(error).__name__}. "
            "It must be a CSV file in UTF-8."
        ) from None


def _translations(file: object, path: Path, system: str) -> dict[str, Translation]:
    lines = csv.DictReader(file, strict=True)  # type: ignore[call-overload] # any text file
    missing = [each for each in _COLUMNS if each not in (lines.fieldnames or ())]
    if missing:
        raise _fault(path, 1, f"the column {missing[0]} is missing")
    found: dict[str, Translation] = {}
    for line in lines:
        cells = {name: line[name] for name in _COLUMNS}
        if None in cells.values() or None in line:
            raise _fault(path, lines.line_num, f"it must have {len(_COLUMNS)} columns")
        if any(cell != cell.strip() for cell in cells.values()):
            raise _fault(path, lines.line_num, "a cell begins or ends with a blank")
        key = cells["local_code"]
        if not key:
            raise _fault(path, lines.line_num, "local_code is blank")
        if bool(cells["system"]) != bool(cells["code"]):
            raise _fault(path, lines.line_num, "system and code go together")
        local = coding(system, key, cells["local_display"])
        standard = coding(cells["system"], cells["code"], cells["display"])
        known = found.get(key)
        if known is None:
            found[key] = Translation(local, (standard,) if standard else ())
            continue
        if known.local != local:
            raise _fault(path, lines.line_num, "its local_display is not that of an earlier line")
        if not standard or not known.standard or standard in known.standard:
            raise _fault(path, lines.line_num, "it is a duplicate of an earlier line")
        found[key] = Translation(local, (*known.standard, standard))
    return found


def _fault(path: Path, line: int, what: str) -> Permanent:
    return Permanent(f"Reading the concept map {path}, line {line}: {what}. Correct the file.")
