"""The report as one HTML file that loads nothing, runs nothing and sends nothing.

Belongs here: what the templates may call, and the signing blocks. Does not belong here: facts.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from migration_assets.private_files import write_private
from migration_assets.signoff import plots, words
from migration_assets.signoff.values import Report, RowPage

PLAIN = "sign-off"
PRIVATE = "sign-off-with-patient-data"
SIGNED = (
    ("balance", "the balance"),
    ("exceptions", "what did not arrive"),
    ("left-out", "what was left out on purpose"),
    ("comparison", "the comparison with Medplum"),
    ("current", "how current the data is"),
    ("switching", "the change from one system to the other"),
    ("mappings", "the translations"),
    ("patients", "the patients reviewed"),
    ("whole", "the migration as a whole"),
)
"""The sections that somebody signs, by their place in the page."""

_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60
_ENVIRONMENT = Environment(
    loader=PackageLoader("migration_assets.signoff", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def report_page(report: Report) -> str:
    """The report for people."""
    return _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        words=words,
        plots=plots,
        signed=dict(SIGNED),
        when=_when,
        number=_number,
        span=_span,
        grouped=_grouped,
        worth_telling=_worth_telling,
        short=_short,
    )


def report_json(report: Report) -> bytes:
    """The report for machines, and the sections to be signed."""
    signing = [
        {"section": at, "about": about, "name": None, "role": None, "date": None, "verdict": None}
        for at, about in SIGNED
        if at != "patients" or report.charts is not None
    ]
    return orjson.dumps(
        {**_plain(report), "needs_a_person": report.needs_a_person, "sign_off": signing},
        option=orjson.OPT_INDENT_2,
    )


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write both files, each its owner's only; the paths of page and JSON.

    Raises:
        Permanent: they cannot be written there.
    """
    stem = PRIVATE if report.with_patient_data else PLAIN
    page, values = folder / f"{stem}.html", folder / f"{stem}.json"
    write_private(page, report_page(report).encode(errors="replace"))
    write_private(values, report_json(report))
    return page, values


def _plain(report: Report) -> dict[str, Any]:
    """A report as plain values; broken letters have a mark in their place."""
    found: dict[str, Any] = _sound(asdict(report))
    return found


def _sound(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_sound(name): _sound(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(each) for each in value]
    return value


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"  # noqa: RUF001


def _span(seconds: float | None) -> str:
    """A length of time as people say it."""
    if seconds is None:
        return "not known"
    if seconds < _MINUTE:
        return f"{max(0.0, seconds):.1f} s"
    left = timedelta(seconds=int(seconds))
    if left.days:
        return f"{left.days} d {left.seconds // _HOUR} h"
    hours, minutes = left.seconds // _HOUR, left.seconds % _HOUR // _MINUTE
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _grouped(
    page: RowPage, elements: Iterable[tuple[str, str | None]]
) -> list[tuple[str | None, str]]:
    """Texts with the places where each stands: a note and its date are in several resources."""
    found: dict[str | None, list[str]] = {}
    for path, text in elements:
        found.setdefault(text, []).append(_short(page, path))
    return [(text, ", ".join(dict.fromkeys(places))) for text, places in found.items()]


def _worth_telling(page: RowPage) -> list[tuple[str, str | None]]:
    """What a translation adds, without the names of types, sources and code systems."""
    return [
        (_short(page, path), text)
        for path, text in page.added
        if not path.endswith((".system", ".resourceType", ".meta.source", ".url"))
    ]


def _short(page: RowPage, path: str) -> str:
    """An element's path, without the type where there is but one."""
    return path if len(set(page.resource_types)) > 1 else path.partition(".")[2]
