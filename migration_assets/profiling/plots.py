"""Plots as inline SVG: nothing to load, sharp in print, readable without colour.

Belongs here: geometry and the words a screen reader gets. Does not belong here: what is plotted.
Every part has a pattern of its own beside its colour, and every number stands in a title.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

PARTS = ("filled", "sentinel", "blank", "null", "missing")
"""What a value can be, from something to nothing; each has a fill of this name (see ``DEFS``)."""

DEFS = Markup(
    '<svg width="0" height="0" class="defs" aria-hidden="true" focusable="false"><defs>'
    '<pattern id="sentinel" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="5" height="5" fill="#ffd8a8"/>'
    '<rect width="2.4" height="5" fill="#b35900"/></pattern>'
    '<pattern id="blank" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect width="5" height="5" fill="#eef1f4"/><circle cx="2.5" cy="2.5" r="1.3" fill="#57606a"/>'
    "</pattern>"
    '<pattern id="null" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect width="5" height="5" fill="#e3e7ec"/><rect width="5" height="1.4" fill="#8b949e"/>'
    "</pattern></defs></svg>"
)
"""The patterns, once per page."""

_FILLS = {"filled": "#0b5cad", "missing": "#ffffff"}
_WIDTH, _HEIGHT = 140, 14
_CHART_HEIGHT, _AXIS = 120, 22
_NARROWEST, _WIDEST, _ROOM = 14, 64, 280


def share_bar(parts: Mapping[str, int]) -> Markup:
    """One bar of what a field's values are, by the names of ``PARTS``."""
    total = sum(parts.values())
    said = ", ".join(f"{_percent(n, total)} {name}" for name, n in parts.items() if n)
    drawn = [_bar_part(name, x, width) for name, x, width in _spans(parts, total)]
    return Markup(  # noqa: S704 - made of numbers and the names above
        f'<svg class="bar" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{said or "no values"}"><title>{said or "no values"}</title>'
        f'<rect x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" fill="#fff" '
        f'stroke="#57606a"/>{"".join(drawn)}</svg>'
    )


def swatch(part: str) -> Markup:
    """The legend's square for a part."""
    return Markup(  # noqa: S704
        '<svg class="swatch" width="14" height="14" aria-hidden="true" focusable="false">'
        f'<rect x=".5" y=".5" width="13" height="13" fill="{_fill(part)}" stroke="#57606a"/></svg>'
    )


def column_chart(counts: Sequence[tuple[str, int]], *, about: str) -> Markup:
    """Columns in the order given; first, last and highest are written out.

    ``counts`` are labels and numbers; labels are made by us (months, lengths), never values.
    """
    if not counts:
        return Markup()
    highest = max(count for _, count in counts) or 1
    step = max(_NARROWEST, min(_WIDEST, _ROOM // len(counts)))  # room for two labels below
    columns = "".join(
        _column(44 + step * n, step - 3, count, highest, label)
        for n, (label, count) in enumerate(counts)
    )
    floor, last = _CHART_HEIGHT, 44 + step * len(counts)
    width = last + 16
    return Markup(  # noqa: S704
        f'<svg class="chart" viewBox="0 0 {width} {_CHART_HEIGHT + _AXIS}" '
        f'width="{width}" height="{_CHART_HEIGHT + _AXIS}" role="img" aria-label="{about}">'
        f'<text x="38" y="12" text-anchor="end">{highest:,}</text>'
        f'<text x="38" y="{floor}" text-anchor="end">0</text>'
        f'<line x1="42" x2="{last}" y1="{floor}" y2="{floor}" stroke="#57606a"/>'
        f'<line x1="42" x2="{last}" y1="4" y2="4" stroke="#c5ccd3" stroke-dasharray="2 3"/>'
        f"{columns}"
        f'<text x="44" y="{floor + 15}">{counts[0][0]}</text>'
        + (
            f'<text x="{last - 3}" y="{floor + 15}" text-anchor="end">{counts[-1][0]}</text>'
            if len(counts) > 1
            else ""
        )
        + "</svg>"
    )


def _column(x: int, width: int, count: int, highest: int, label: str) -> str:
    height = max(1.0, (_CHART_HEIGHT - 4) * count / highest) if count else 0.0
    return (
        f'<rect x="{x}" y="{_CHART_HEIGHT - height:.1f}" '
        f'width="{width}" height="{height:.1f}" fill="#0b5cad">'
        f"<title>{label}: {count:,}</title></rect>"
    )


def _spans(parts: Mapping[str, int], total: int) -> list[tuple[str, float, float]]:
    spans, x = [], 0.0
    for name in PARTS:
        width = _WIDTH * parts.get(name, 0) / total if total else 0.0
        if width:
            spans.append((name, x, max(width, 1.5)))  # one value of a million is still seen
        x += width
    return spans


def _bar_part(name: str, x: float, width: float) -> str:
    left = min(x, _WIDTH - width)
    return (
        f'<rect x="{left:.1f}" y=".5" width="{width:.1f}" height="{_HEIGHT - 1}" '
        f'fill="{_fill(name)}" stroke="#57606a" stroke-width=".6"/>'
    )


def _fill(name: str) -> str:
    return _FILLS.get(name, f"url(#{name})")


def _percent(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f} %" if 0.1 <= share <= 99.9 or share in (0, 100) else f"{count:,} of all"  # noqa: PLR2004
