"""What did not arrive, who looks after it, and what was left out on purpose.

Belongs here: exceptions with what people said of them, codes that no table translates, fields that
mappings leave out. Does not belong here: deciding anything.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

from migration_assets.manifest import Manifest, Selection
from migration_assets.manifest.payload import PURGED
from migration_assets.manifest.sign_off import Said
from migration_assets.mapping import Mapping
from migration_assets.profiling.places import ABSENT, value_at
from migration_assets.signoff.values import CodeLine, ExceptionLine, LeftOutLine, SaidLine
from migration_assets.signoff.withholding import Withholding
from migration_assets.signoff.words import reason_told

UNMAPPED = "unmapped-code"
MOST_CODES = 200
"""Codes that are listed; the rarest of more are added up."""


def exception_lines(
    manifest: Manifest, mappings: Sequence[Mapping[Any]], names: Withholding, today: date
) -> tuple[ExceptionLine, ...]:
    """Rows that did not arrive, by reason, those that are still open first."""
    streams = tuple(each.stream for each in mappings)
    types = {each.stream: each.resource_type for each in mappings}
    said = manifest.contents.sign_off.said(streams)
    made = []
    for each in manifest.decisions.groups(Selection(streams=streams)):
        lines = said.get((each.stream, each.state.value, each.reason, each.field), [])
        made.append(
            ExceptionLine(
                resource_type=types[each.stream],
                state=each.state.value,
                reason=each.reason,
                told=reason_told(each.reason),
                field=each.field,
                count=each.count,
                open=each.open,
                said=tuple(_said_line(one, names, today) for one in lines),
                unsaid=each.count - sum(one.count for one in lines),
                keys=tuple(names.key(each.stream, key) for key in each.example_keys),
            )
        )
    return tuple(sorted(made, key=lambda one: (-one.open, -one.count)))


def _said_line(said: Said, names: Withholding, today: date) -> SaidLine:
    return SaidLine(
        owner=said.owner,
        choice=said.choice,
        approver=said.approver,
        due=said.due,
        overdue=said.due is not None and said.choice != "accept" and said.due < today.isoformat(),
        note=names.value(said.note),
        count=said.count,
    )


def unmapped_codes(
    manifest: Manifest,
    mappings: Sequence[Mapping[Any]],
    found: Sequence[ExceptionLine],
    names: Withholding,
) -> tuple[CodeLine, ...]:
    """Codes for which rows are held back, the most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    held = {each.resource_type for each in found if each.reason == UNMAPPED}
    for mapping in mappings:
        if mapping.resource_type in held:
            for page in manifest.contents.sign_off.held_rows(mapping.stream, reason=UNMAPPED):
                counts.update(
                    (mapping.resource_type, each.field, _code(each.row, each.field))
                    for each in page
                )
    return tuple(
        CodeLine(resource_type=kind, field=field, code=names.value(code), count=n)
        for (kind, field, code), n in counts.most_common(MOST_CODES)
    )


def _code(row: Any, field: str) -> str:
    """The value at a reason's field: ``components[2].code`` is the third item's."""
    if row is PURGED:
        return "(row purged)"
    value = row
    for step in field.replace("[", ".[").split("."):
        if isinstance(value, list) and step.startswith("[") and step[1:-1].isdigit():
            at = int(step[1:-1])
            value = value[at] if at < len(value) else ABSENT
        elif isinstance(value, dict):
            value = value.get(step, ABSENT)
        else:
            value = ABSENT
    if value is ABSENT:
        value = value_at(row, field)
    return "(not in the row)" if value is ABSENT else str(value)


def left_out_lines(mappings: Sequence[Mapping[Any]]) -> tuple[LeftOutLine, ...]:
    """Fields that mappings leave out on purpose."""
    return tuple(
        LeftOutLine(
            resource_type=mapping.resource_type, field=field, kind=kind.value, why=why
        )
        for mapping in mappings
        for field, (kind, why) in mapping.left_out.items()
    )  # fmt: skip
