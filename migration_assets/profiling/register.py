"""The mapping register Medplum's migration guide asks for, made from code and data.

Belongs here: field → element, rule, missing and invalid values, terminology, and the disposition of
every field seen, put together. Does not belong here: the experiment (``evidence``), the pass over
the rows (``population``), or how it is written down (``register_page``). No value of a row is in
it: names, counts, reasons and codes of concept maps.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migration_assets.legacy import Source, Stream
from migration_assets.manifest import Exceptions, Manifest
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.profiling.evidence import Trace, traces
from migration_assets.profiling.population import Population, population
from migration_assets.profiling.row_models import ModelField, model_fields
from migration_assets.terminology import concept_map

NOT_MAPPED = "populated, not mapped"
"""The disposition nobody decided: rows say something there, and no mapping reads it."""

CONTRADICTED = "populated, declared left out and read"
"""A field that the mapping says it leaves out, and does not."""

_FINE = re.compile(r"\.(coding(\.\w+)?|reference)$|(?<=\.identifier)\.\w+$")


@dataclass(frozen=True, kw_only=True)
class FieldEntry:
    """One field of a stream.

    ``rule`` says how it becomes ``elements``; ``in_some_rows``: whether it does depends on other
    fields. ``missing`` and ``invalid`` (by the kind of value) say what becomes of such a row.
    ``populated`` rows say something there; ``held_back`` units stand in quarantine or were refused
    for it, by reason.
    """

    path: str
    type: str | None
    required: bool
    about: str | None
    elements: tuple[str, ...]
    rule: str
    in_some_rows: bool
    maps: tuple[str, ...]
    missing: tuple[str, ...]
    invalid: Mapping[str, tuple[str, ...]]
    populated: int
    share: float
    held_back: Mapping[str, int]
    disposition: str


@dataclass(frozen=True, kw_only=True)
class StreamEntry:
    """How the rows of one stream become resources."""

    stream: str
    types: tuple[str, ...]
    version: str
    about: str
    after: tuple[str, ...]
    back_references: tuple[str, ...]
    removal: str
    create_only: bool
    owner: str
    review: str
    rows: int
    fields: tuple[FieldEntry, ...]
    refused_examples: tuple[str, ...]

    @property
    def not_mapped(self) -> tuple[FieldEntry, ...]:
        """Fields that say something and that no mapping reads, nor says why."""
        loud = (NOT_MAPPED, CONTRADICTED)
        return tuple(each for each in self.fields if each.disposition in loud)


@dataclass(frozen=True)
class MapEntry:
    """A concept map: its local codes, and how many of them have a standard coding."""

    name: str
    system: str
    codes: int
    with_standard: int
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class Register:
    """The whole register; ``unmapped_streams`` have rows on account and no mapping."""

    streams: tuple[StreamEntry, ...]
    maps: tuple[MapEntry, ...]
    unmapped_streams: Mapping[str, int]

    @property
    def not_mapped(self) -> list[tuple[str, FieldEntry]]:
        """Every populated field that no mapping reads, with its stream."""
        return [(each.stream, field) for each in self.streams for field in each.not_mapped]


def register(
    mappings: Sequence[MappingOf[Any]], manifest: Manifest, source: Source | None
) -> Register:
    """The register of ``mappings`` over what is on account.

    ``source`` tells which fields the puller reads (key, change time, tombstone), if it is known.
    """
    exceptions = manifest.exceptions()
    entries = tuple(
        _stream_entry(
            each,
            population(manifest.contents, each.stream),
            [held for held in exceptions if held.stream == each.stream],
            read_by_the_puller(source.stream(each.stream)) if source is not None else {},
        )
        for each in mappings
    )
    mapped = {each.stream for each in entries}
    counts = manifest.contents.counts()
    left = {name: rows for name, (rows, _) in sorted(counts.items()) if name not in mapped}
    return Register(entries, _maps(entries), left)


def _stream_entry(
    mapping: MappingOf[Any],
    seen: Population,
    held_back: Sequence[Exceptions],
    puller: Mapping[str, str],
) -> StreamEntry:
    declared = {each.path: each for each in model_fields(mapping.row)}
    specimens = [*mapping.examples, *seen.specimens]
    paths = list(dict.fromkeys([*declared, *sorted(seen.populated)]))
    bot = mapping.transformer
    # To try a Bot out would be hundreds of executions; its own tests say what it does.
    found = {each: Trace() for each in paths} if bot else traces(mapping, specimens, paths)
    return StreamEntry(
        stream=mapping.stream,
        types=mapping.types,
        version=mapping.version,
        about=_first_line(mapping.row.__doc__),
        after=mapping.after,
        back_references=mapping.back_references,
        removal=mapping.removal.value,
        create_only=mapping.create_only,
        owner=mapping.owner,
        review=mapping.review.value,
        rows=seen.rows,
        fields=tuple(
            _field_entry(
                path,
                declared.get(path),
                found[path],
                seen,
                held_back,
                _decided(mapping, path, found[path])
                or _by_bot(mapping, path, seen)
                or _disposition(path, declared.get(path), found[path], seen, puller),
            )
            for path in paths
        ),
        refused_examples=tuple(reason for reason, _ in mapping.quarantined_examples),
    )


def _field_entry(
    path: str,
    declared: ModelField | None,
    trace: Trace,
    seen: Population,
    held_back: Iterable[Exceptions],
    disposition: str,
) -> FieldEntry:
    elements = tuple(sorted({_FINE.sub("", each) for each in trace.elements}))
    name = path.replace("[]", "")
    reasons: dict[str, int] = {}
    for each in held_back:
        at = re.sub(r"\[\d*\]", "", each.field)
        if at == name or any(at.startswith(element) for element in elements):
            reasons[each.reason] = reasons.get(each.reason, 0) + each.count
    return FieldEntry(
        path=path,
        type=declared.type if declared else None,
        required=declared.required if declared else False,
        about=declared.about if declared else None,
        elements=elements,
        rule=_rule(trace),
        in_some_rows=bool(trace.elements) and 0 < trace.without_effect < trace.tried,
        maps=tuple(sorted(trace.maps)),
        missing=tuple(outcome for outcome, _ in trace.missing.most_common()),
        invalid={kind: tuple(counts) for kind, counts in trace.invalid.items()},
        populated=seen.populated.get(path, 0),
        share=seen.share(path),
        held_back=reasons,
        disposition=disposition,
    )


def _rule(trace: Trace) -> str:
    """How the value becomes the element, as far as it was seen."""
    if trace.maps:
        return "code, by concept map"
    if any(each.endswith(".reference") for each in trace.elements):
        own = any(each.endswith("identifier.value") for each in trace.elements)
        return "identifier, and reference within the group" if own else "reference by identifier"
    if any(each.endswith(".identifier.value") for each in trace.verbatim):
        return "identifier"
    if trace.verbatim:
        return "as it is"
    if trace.elements:
        return "transformed"
    return "checked, not written" if trace.is_read else "none"


def _decided(mapping: MappingOf[Any], path: str, trace: Trace) -> str | None:
    """What the mapping declares of a field it leaves out with all below, or that it reads it."""
    for name, (kind, why) in mapping.left_out.items():
        if path == name or path.startswith((f"{name}.", f"{name}[]")):
            return CONTRADICTED if trace.is_read else f"{kind.value}: {why}"
    return None


def _by_bot(mapping: MappingOf[Any], path: str, seen: Population) -> str | None:
    """What is known of a field whose row a Bot gets: that it gets it."""
    if mapping.transformer is None or not seen.populated.get(path):
        return None
    return f"the Bot {mapping.transformer.name} gets it"


def _disposition(
    path: str,
    declared: ModelField | None,
    trace: Trace,
    seen: Population,
    puller: Mapping[str, str],
) -> str:
    """What becomes of the field as a whole; ``NOT_MAPPED`` if nobody decided."""
    if trace.elements:
        return _how_written(trace)
    if path in puller:
        return f"read by the puller: {puller[path]}"
    if trace.is_read:
        return "checked, not written"
    if seen.populated.get(path):
        return NOT_MAPPED
    if declared is None:
        return "never populated"
    return "declared, without effect" if trace.tried else "declared; never seen, in no example"


def _how_written(trace: Trace) -> str:
    if 0 < trace.without_effect < trace.tried:
        return "conditional"
    return "direct" if _rule(trace) in ("as it is", "identifier") else "transformed"


def read_by_the_puller(stream: Stream) -> dict[str, str]:
    """Fields that the puller itself reads, and as what."""
    read = dict.fromkeys(stream.volatile, "volatile, says nothing")
    read |= dict.fromkeys(stream.id, "key")
    if stream.cursor is not None:
        read[stream.cursor.field] = "change time"
    for flag, told in ((stream.tombstone, "deleted"), (stream.archived, "put away")):
        if flag is not None:
            read[flag.path] = told
    if stream.merged_into is not None:
        read[stream.merged_into] = "merged into another"
    return read


def _maps(entries: Iterable[StreamEntry]) -> tuple[MapEntry, ...]:
    used: dict[str, list[str]] = {}
    for entry in entries:
        for field in entry.fields:
            for name in field.maps:
                used.setdefault(name, []).append(f"{entry.stream}.{field.path}")
    made = []
    for name in sorted(used):
        found = concept_map(name)
        standard = sum(bool(each.standard) for each in found.translations.values())
        made.append(
            MapEntry(name, found.system, len(found.translations), standard, tuple(used[name]))
        )
    return tuple(made)


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
