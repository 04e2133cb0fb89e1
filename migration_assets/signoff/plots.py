"""The balance over time as inline SVG: stacked columns, each part with a pattern of its own.

Belongs here: geometry and the words a screen reader gets. Does not belong here: what is plotted.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

PARTS = {
    "arrived": ("migrated", "unchanged"),
    "left out": ("skipped",),
    "held back": ("rejected", "quarantined"),
    "pending": ("pending",),
}
"""What a column is made of, from the bottom up, by the states that each part holds."""

DEFS = Markup(
    '<svg width="0" height="0" class="defs" aria-hidden="true" focusable="false"><defs>'
    '<pattern id="fill-left-out" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect width="5" height="5" fill="#eef1f4"/><circle cx="2.5" cy="2.5" r="1.3" fill="#57606a"/>'
    '</pattern><pattern id="fill-held-back" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="5" height="5" fill="#ffd8a8"/>'
    '<rect width="2.4" height="5" fill="#b35900"/></pattern></defs></svg>'
)
"""The patterns, once per page."""

_FILLS = {"arrived": "#0b5cad", "pending": "#ffffff"}
_HEIGHT, _AXIS, _LEFT = 110, 20, 52
_NARROWEST, _WIDEST, _ROOM = 4, 56, 290


def parts(states: Mapping[str, int]) -> dict[str, int]:
    """How many rows are in each part."""
    return {name: sum(states.get(each, 0) for each in held) for name, held in PARTS.items()}


def told(states: Mapping[str, int]) -> str:
    """A column in words: ``120 rows: 110 arrived, 10 held back``."""
    found = parts(states)
    rest = ", ".join(f"{number:,} {name}" for name, number in found.items() if number)
    total = sum(found.values())
    return f"{total:,} rows: {rest}" if total else "no rows"


def swatch(part: str) -> Markup:
    """The legend's square for a part."""
    return Markup(
        '<svg class="swatch" width="14" height="14" aria-hidden="true" focusable="false">'
        '<rect x=".5" y=".5" width="13" height="13" fill="{}" stroke="#57606a"/></svg>'
    ).format(_fill(part))


def stacked(columns: Sequence[tuple[str, Mapping[str, int]]], *, about: str) -> Markup:
    """Columns in the order given, the highest and the first and last label written out."""
    if not columns:
        return Markup()
    highest = max(sum(each.values()) for _, each in columns) or 1
    step = max(_NARROWEST, min(_WIDEST, _ROOM // len(columns)))
    last = _LEFT + max(step * len(columns), 2 * _WIDEST)
    drawn = Markup("").join(
        _column(_LEFT + step * n, step - (2 if step > _NARROWEST else 1), label, states, highest)
        for n, (label, states) in enumerate(columns)
    )
    ends = Markup('<text x="{}" y="{}">{}</text>').format(_LEFT, _HEIGHT + 15, columns[0][0])
    if len(columns) > 1:
        ends += Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            _LEFT + step * len(columns) if step * len(columns) > 2 * _WIDEST else last,
            _HEIGHT + 15,
            columns[-1][0],
        )
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="{about}"><text x="{edge}" y="12" text-anchor="end">{highest}</text>'
        '<text x="{edge}" y="{floor}" text-anchor="end">0</text>'
        '<line x1="{left}" x2="{last}" y1="{floor}" y2="{floor}" stroke="#57606a"/>'
        '<line x1="{left}" x2="{last}" y1="4" y2="4" stroke="#c5ccd3" stroke-dasharray="2 3"/>'
        "{drawn}{ends}</svg>"
    ).format(
        width=last + 8,
        height=_HEIGHT + _AXIS,
        about=about,
        edge=_LEFT - 6,
        highest=f"{highest:,}",
        floor=_HEIGHT,
        left=_LEFT - 2,
        last=last,
        drawn=drawn,
        ends=ends,
    )


def _column(x: int, width: int, label: str, states: Mapping[str, int], highest: int) -> Markup:
    drawn, top = Markup(), float(_HEIGHT)
    for name, number in parts(states).items():
        if number:
            # One row of a million is still seen.
            height = max(2.0, (_HEIGHT - 4) * number / highest)
            top -= height
            drawn += Markup(
                '<rect x="{}" y="{:.1f}" width="{}" height="{:.1f}" fill="{}" stroke="#57606a" '
                'stroke-width=".6"/>'
            ).format(x, max(0.0, top), width, height, _fill(name))
    return Markup("<g><title>{}: {}</title>{}</g>").format(
        escape(label), told(states), drawn
    ) if drawn else Markup()  # fmt: skip


def _fill(part: str) -> str:
    return _FILLS.get(part, f"url(#fill-{part.replace(' ', '-')})")
