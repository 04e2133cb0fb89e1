"""The register as Markdown, as one HTML file, and as plain values for machines.

Belongs here: wording and layout. Does not belong here: finding anything out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from migration_assets.profiling.page import render
from migration_assets.profiling.register import FieldEntry, Register, StreamEntry

_COLUMNS = ("field", "type", "element", "rule", "missing", "invalid", "rows", "disposition")
_DATE = "impossible date"


def as_json_value(register: Register) -> dict[str, Any]:
    """The register as JSON takes it."""
    return {
        "streams": [
            asdict(each) | {"not_mapped": [field.path for field in each.not_mapped]}
            for each in register.streams
        ],
        "concept_maps": [asdict(each) for each in register.maps],
        "unmapped_streams": dict(register.unmapped_streams),
    }


def register_page(register: Register, made_at: datetime) -> str:
    """The register as one HTML file."""
    return render(
        "register.html.j2",
        register=register,
        made_at=made_at,
        missing=missing_told,
        invalid=invalid_told,
        rule=rule_told,
        rows=rows_told,
    )


def as_markdown(register: Register, made_at: datetime) -> str:
    """The register as a Markdown document."""
    lines = [
        "# Mapping register",
        "",
        f"Made {made_at:%Y-%m-%d %H:%M} UTC from the mappings and what is on account.",
        "No value of a row is in it.",
        "",
        *_loud(register),
    ]
    for each in register.streams:
        lines += [
            f"## {each.stream} → {', '.join(each.types)}",
            "",
            f"{each.about} Mapping version {each.version}; {each.rows:,} rows on account; "
            f"a deleted row: {each.removal}."
            + (f" After {', '.join(each.after)}." if each.after else "")
            + (" Written once, never changed." if each.create_only else ""),
            "",
            f"Owner: {each.owner or 'nobody yet'}. Review: {each.review}.",
            "",
            _line(_COLUMNS),
            _line("---" for _ in _COLUMNS),
            *(_line(_cells(field)) for field in each.fields),
            "",
            _refused(each),
            "",
        ]
    return "\n".join([*lines, *_maps(register)]) + "\n"


def rule_told(field: FieldEntry) -> str:
    """The rule with the maps it uses."""
    told = f"{field.rule} {', '.join(field.maps)}" if field.maps else field.rule
    return f"{told}; in some rows only" if field.in_some_rows else told


def missing_told(field: FieldEntry) -> str:
    """What becomes of a row without the field."""
    return _outcomes(field, field.missing) or "not tried"


def invalid_told(field: FieldEntry) -> str:
    """What becomes of invalid values, those of one outcome together."""
    kinds: dict[str, list[str]] = {}
    for kind, outcomes in field.invalid.items():
        # A text that is no date at all says the same of a field that takes any text.
        if kind != _DATE or outcomes != field.invalid.get("unknown"):
            kinds.setdefault(_outcomes(field, outcomes), []).append(kind)
    if len(kinds) == 1:
        return next(iter(kinds))
    told = [f"{', '.join(names)}: {outcome}" for outcome, names in kinds.items()]
    return "; ".join(told) or "not tried"


def _outcomes(field: FieldEntry, outcomes: Iterable[str]) -> str:
    return " or ".join(each.removesuffix(f" at {field.path}") for each in outcomes)


def rows_told(field: FieldEntry) -> str:
    """In how many rows the field says something, and how many are held back for it."""
    share = f" ({field.share:.1%})" if field.populated else ""
    held = _counted(field.held_back)
    return f"{field.populated:,}{share}" + (f"; held back: {held}" if held else "")


def _refused(entry: StreamEntry) -> str:
    told = ", ".join(entry.refused_examples) or "none"
    return f"Held back on purpose, each with an example: {told}."


def _loud(register: Register) -> list[str]:
    found = [
        f"- **{stream}.{field.path}**: {field.populated:,} rows ({field.share:.1%})"
        for stream, field in register.not_mapped
    ]
    found += [
        f"- **{name}**: {rows:,} rows, and no mapping for the stream"
        for name, rows in register.unmapped_streams.items()
    ]
    if not found:
        return ["Every populated field is read by a mapping or by the puller.", ""]
    return ["## POPULATED, NOT MAPPED", "", "Map each, or write down why it is left out.", "",
            *found, ""]  # fmt: skip


def _cells(field: FieldEntry) -> list[str]:
    kind = (field.type or "not in the row model") + (", required" if field.required else "")
    loud = f"**{field.disposition.upper()}**" if field.disposition.startswith("populated") else None
    return [
        f"`{field.path}`",
        kind,
        ", ".join(field.elements) or "none",
        rule_told(field),
        missing_told(field),
        invalid_told(field),
        rows_told(field),
        loud or field.disposition,
    ]


def _maps(register: Register) -> list[str]:
    return [
        "## Concept maps",
        "",
        _line(("map", "local system", "codes", "with a standard code", "local only", "used by")),
        _line("---" for _ in range(6)),
        *(
            _line(
                (
                    each.name, each.system, str(each.codes), str(each.with_standard),
                    str(each.codes - each.with_standard), ", ".join(each.used_by),
                )
            )
            for each in register.maps
        ),
    ]  # fmt: skip


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
