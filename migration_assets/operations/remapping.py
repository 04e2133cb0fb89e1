"""What another mapping version would change, found out before it is let loose.

Belongs here: comparing what was settled under the version before with what would come of it now.
Does not belong here: opening the units again (``manifest.remapping``), or delivering them.

The content that was sent is not kept, only its fingerprint; which elements differ can be told only
beside what Medplum holds. Element paths are no patient data, values are.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.fhir.references import with_references
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.mapping import Mapping as RowMapping
from migration_assets.medplum import Fhir
from migration_assets.medplum.contents import stripped
from migration_assets.operations.rehearsing import CHUNK, Outlook, Rehearsal
from migration_assets.steps.preparation import member_token
from migration_assets.steps.transforming import bound, version_now

EXAMPLES = 3
_FAILED = (State.QUARANTINED, State.REJECTED)


@dataclass(frozen=True)
class Difference:
    """One element that would differ: path without indexes, and both values (patient data)."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Example:
    """One resource that would change."""

    key: str
    token: str
    differences: tuple[Difference, ...]


@dataclass
class VersionChange:
    """What a mapping's version would change; resources by event, rows by why they stand still.

    ``resources``: unchanged, changed, created (new), deleted (removed).
    """

    resource_type: str
    version: str
    rows: int = 0
    of_rows: int = 0
    purged: int = 0
    """Rows of another version that were purged: only a pull of their windows maps them again."""
    before: Counter[str] = field(default_factory=Counter)
    resources: Counter[tuple[str, str]] = field(default_factory=Counter)
    now_quarantined: Counter[tuple[str, str]] = field(default_factory=Counter)
    no_longer_quarantined: Counter[tuple[str, str]] = field(default_factory=Counter)
    still_quarantined: Counter[tuple[str, str]] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    """In how many of the resources compared with Medplum a path differs."""
    examples: list[Example] = field(default_factory=list)


def version_change(
    manifest: Manifest,
    fhir: Fhir | None,
    adoption: Adoption,
    mapping: RowMapping[Any],
    *,
    limit: int | None = None,
) -> VersionChange:
    """Map what another version settled once more, and count what would differ; nothing is written.

    Raises:
        Transient: Medplum does not answer.
    """
    version_now(mapping, manifest, fhir)
    mapping = bound(mapping, manifest, fhir)
    change = VersionChange(mapping.resource_type, mapping.version)
    change.of_rows = manifest.remapping.count_outdated(mapping.stream, mapping.version)
    change.purged = manifest.remapping.count_purged(mapping.stream, mapping.version)
    settled: dict[int, SettledUnit] = {}

    def chunks() -> Iterator[list[SettledUnit]]:
        for chunk in _outdated(manifest, mapping, limit):
            change.before.update(str(each.mapping_version) for each in chunk)
            settled.update((each.unit.id, each) for each in chunk)
            yield chunk

    for outlook in Rehearsal(manifest, fhir, adoption).rehearse(mapping, chunks()):
        _add(change, settled.pop(outlook.unit.id), outlook)
    return change


def _outdated(
    manifest: Manifest, mapping: RowMapping[Any], limit: int | None
) -> Iterator[list[SettledUnit]]:
    last_id, left = 0, limit
    while left is None or left > 0:
        size = CHUNK if left is None else min(CHUNK, left)
        chunk = manifest.remapping.outdated(
            mapping.stream, mapping.version, after_id=last_id, limit=size
        )
        if not chunk:
            return
        last_id = chunk[-1].unit.id
        left = None if left is None else left - len(chunk)
        yield chunk


def _add(change: VersionChange, before: SettledUnit, now: Outlook) -> None:
    change.rows += 1
    failed = before.state in _FAILED
    was, why = (before.reason or "", before.field or ""), (now.reason, now.field)
    if now.state is State.QUARANTINED:
        (change.still_quarantined if failed else change.now_quarantined)[why] += 1
        return
    if failed:
        change.no_longer_quarantined[was] += 1
    if now.state is State.SKIPPED:
        change.skipped[now.reason] += 1
    change.resources.update((name.split("|", 1)[0], event) for name, event in now.resources)
    for example in _compared(now):
        change.paths.update({each.path for each in example.differences})
        if len(change.examples) < EXAMPLES:
            change.examples.append(example)


def _compared(outlook: Outlook) -> Iterable[Example]:
    """The resources that would change, beside what Medplum holds of them."""
    events = dict(outlook.resources)
    literals = {m.reference: f"{m.resource_type}/{m.fhir_id}" for m in outlook.members if m.fhir_id}
    for member in outlook.members:
        name = member_token(member)
        if events.get(name) == "changed" and name in outlook.held and member.body is not None:
            body = with_references(member.body, literals.get)
            found = tuple(differences(stripped(outlook.held[name]), stripped(body)))
            yield Example(outlook.unit.key, name, found)


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Where two values of FHIR JSON differ, by element path; a list of another length as one."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in (*before, *(each for each in after if each not in before)):
            below = ".".join(filter(None, (path or before.get("resourceType"), str(name))))
            yield from differences(before.get(name), after.get(name), below)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from differences(one, other, path)
    elif before != after:
        yield Difference(path, before, after)
