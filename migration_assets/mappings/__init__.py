"""The mappings: one file per FHIR type, discovered, not listed.

Belongs here: finding them and the order in which their types are loaded. Does not belong here:
anything about a type; the files are blind to each other. To add a type, add a file that says
``MAPPING = Mapping(...)``, here or in a folder of your own.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.fhir.retirement import supports
from migration_assets.mapping import Mapping, Step, built_by_a_bot


def discover(*extra_folders: Path, built_in: bool = True) -> dict[str, Mapping[Any]]:
    """Every mapping by its FHIR type, in load order: after what it refers to, else as the guide.

    Args:
        extra_folders: folders with further mapping files, for those who keep theirs elsewhere.
        built_in: whether those of this package count, too.

    Raises:
        Permanent: a file without ``MAPPING``, two mappings for one stream or one type, a type
            that is unknown or refers to itself in a circle; the message names files and types.
    """
    found: dict[Path, Mapping[Any]] = {}
    ours = [Path(__file__).parent] if built_in else []
    for folder in (*ours, *extra_folders):
        if not folder.is_dir():
            raise Permanent(f"Looking for mappings: there is no folder {folder}.")
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                found[path] = _mapping(path)
    _check_single(found)
    _check_removals(found)
    _check_transformers(found)
    return _ordered(found.values())


def _mapping(path: Path) -> Mapping[Any]:
    mapping = getattr(_module(path), "MAPPING", None)
    if not isinstance(mapping, Mapping):
        raise Permanent(
            f"Looking for mappings: {path} has no MAPPING. Every file there must say "
            "`MAPPING = Mapping(...)`; begin the name of any other file with an underscore."
        )
    return mapping


def _module(path: Path) -> ModuleType:
    if path.parent == Path(__file__).parent:
        return importlib.import_module(f"{__name__}.{path.stem}")
    # Two folders may hold files of one name, so the name of the module tells them apart.
    folder = blake2b(str(path.parent.resolve()).encode(), digest_size=6).hexdigest()
    name = f"_mappings_{folder}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Permanent(f"Looking for mappings: {path} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _check_single(found: dict[Path, Mapping[Any]]) -> None:
    """One stream has one mapping, and one type comes from one mapping: it is one record's owner."""
    seen: dict[str, Path] = {}
    for path, mapping in found.items():
        for claim in (f"stream {mapping.stream}", *(f"type {each}" for each in mapping.types)):
            if claim in seen:
                raise Permanent(
                    f"Looking for mappings: {seen[claim]} and {path} both map the {claim}. "
                    "Remove one of them."
                )
            seen[claim] = path


def _check_removals(found: dict[Path, Mapping[Any]]) -> None:
    """A policy that a type has no element for would quarantine every deletion."""
    for path, mapping in found.items():
        for each in mapping.types:
            if not supports(each, mapping.removal):
                raise Permanent(
                    f"Looking for mappings: {path} removes by {mapping.removal.value}, which "
                    f"{each} has no element for. Choose another removal."
                )


def _check_transformers(found: dict[Path, Mapping[Any]]) -> None:
    """Exactly one says what a row becomes, and a Bot must be one that can be found."""
    for path, mapping in found.items():
        bot = mapping.transformer
        if (bot is None) == (mapping.build is built_by_a_bot):
            raise Permanent(
                f"Looking for mappings: {path} has {'both' if bot else 'neither'} `build` and "
                "`transformer`. One of them says what becomes of a row."
            )
        if bot is not None and mapping.reverse is not None:
            raise Permanent(
                f"Looking for mappings: {path} has a `reverse` beside its `transformer`. A way "
                "back is proved by mapping its row again, which a Bot is not asked for: leave it "
                "out."
            )
        if bot is not None and (bool(bot.identifier) == bool(bot.id) or not _named(bot.identifier)):
            raise Permanent(
                f"Looking for mappings: {path} must name its Bot either by id or by identifier, as "
                '`Bot(identifier="https://your-clinic.example/bots|conditions")`.'
            )


def _named(identifier: str | None) -> bool:
    return identifier is None or all(part.strip() for part in identifier.partition("|"))


def _ordered(mappings: Iterable[Mapping[Any]]) -> dict[str, Mapping[Any]]:
    steps = list(Step)
    waiting = sorted(mappings, key=lambda each: (steps.index(each.step), each.resource_type))
    known = {name for each in waiting for name in each.types}
    for each in waiting:
        unknown = [name for name in each.after if name not in known]
        if unknown:
            raise Permanent(
                f"Ordering the mappings: {each.resource_type} comes after {unknown[0]}, "
                "which no mapping makes. Correct `after`, or add a mapping for it."
            )
    ordered: dict[str, Mapping[Any]] = {}
    loaded: set[str] = set()
    while waiting:
        ready = next((each for each in waiting if loaded.issuperset(each.after)), None)
        if ready is None:
            circle = ", ".join(_circle(waiting, loaded))
            raise Permanent(
                f"Ordering the mappings: {circle} wait for each other in a circle. Remove one "
                "from an `after`; a back-reference is written in a second pass."
            )
        waiting.remove(ready)
        ordered[ready.resource_type] = ready
        loaded.update(ready.types)
    return ordered


def _circle(waiting: list[Mapping[Any]], loaded: set[str]) -> list[str]:
    """The types of one circle, found by walking from any that waits to what it waits for."""
    maker = {name: each for each in waiting for name in each.types}
    path: list[str] = []
    at = waiting[0]
    while at.resource_type not in path:
        path.append(at.resource_type)
        at = maker[next(name for name in at.after if name not in loaded)]
    return path[path.index(at.resource_type) :]
