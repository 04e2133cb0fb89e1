"""A profile for people (one HTML file) and for machines (plain values).

Belongs here: which facts stand where. Does not belong here: finding them. The page loads nothing
and runs nothing, so that it may be opened anywhere and sent nowhere.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from migration_assets.profiling.disclosure import LEAST
from migration_assets.profiling.field import FieldProfile
from migration_assets.profiling.plots import DEFS, PARTS, column_chart, share_bar, swatch
from migration_assets.profiling.remarks import field_remarks, stream_remarks
from migration_assets.profiling.stream import StreamProfile

_MONTHS_SHOWN = 60
_ENVIRONMENT = Environment(
    loader=PackageLoader("migration_assets.profiling", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def profile_page(profiles: Sequence[StreamProfile], made_at: datetime) -> str:
    """The page of several streams."""
    return render(
        "profile.html.j2",
        profiles=profiles,
        made_at=made_at,
        least=LEAST,
        parts_named=PARTS,
        parts=parts,
        months=_months,
        lengths=_lengths,
        field_remarks=field_remarks,
        stream_remarks=stream_remarks,
    )


def render(template: str, **values: Any) -> str:
    """A page of this room, from a template in ``pages``."""
    tools = {"defs": DEFS, "share_bar": share_bar, "swatch": swatch, "chart": column_chart}
    return _ENVIRONMENT.get_template(template).render(**tools, **values)


def as_json_value(profile: StreamProfile) -> dict[str, Any]:
    """A profile as JSON takes it, with what stands out in words."""
    plain = asdict(profile) | {"remarks": [each._asdict() for each in stream_remarks(profile)]}
    plain["fields"] = [
        asdict(field)
        | {
            "filled_share": round(field.filled_share, 6),
            "parts": parts(field),
            "lengths": dict(_lengths(field)),
            "unique": field.is_unique,
            "zoneless_share": field.dates.zoneless_share if field.dates else None,
            "remarks": [each._asdict() for each in field_remarks(profile, field)],
        }
        for field in profile.fields
    ]
    return plain


def parts(field: FieldProfile) -> dict[str, int]:
    """What the field's values are, by the names of ``PARTS``; they add up to all there could be."""
    sentinels = sum(field.sentinels.values())
    empty = field.present - field.nulls - sentinels - field.filled
    return {
        "filled": field.filled,
        "sentinel": sentinels,
        "blank": empty,
        "null": field.nulls,
        "missing": field.missing or 0,
    }


def _months(profile: StreamProfile) -> list[tuple[str, int]]:
    """Every month from the first to the last, empty ones too; the latest five years of them."""
    if not profile.months:
        return []
    first, last = min(profile.months), max(profile.months)
    numbers = range(_number(first), _number(last) + 1)[-_MONTHS_SHOWN:]
    named = [f"{number // 12:04}-{number % 12 + 1:02}" for number in numbers]
    return [(name, profile.months.get(name, 0)) for name in named]


def _number(month: str) -> int:
    return 12 * int(month[:4]) + int(month[5:]) - 1


def _lengths(field: FieldProfile) -> list[tuple[str, int]]:
    """Lengths by the powers of two between the shortest and the longest."""
    if not field.lengths:
        return []
    bits = range(min(field.lengths), max(field.lengths) + 1)
    return [(_span(each), field.lengths.get(each, 0)) for each in bits]


def _span(bits: int) -> str:
    if bits <= 1:
        return str(bits)
    return f"{1 << (bits - 1):,}-{(1 << bits) - 1:,}"
