"""FHIR elements: small constructors that leave out what is not there.

Belongs here: the shape of common data types. Does not belong here: codes (``terminology``) or
dates (``dates``). An absent part is None, '' (a legacy NULL), [] or {}; it is never written, and
an element without any part is None. Blanks are not absence: they are kept for ``validation``.
"""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, TypeAlias

from migration_assets.mapping import SOURCE_URI, Quarantined, Resource

UCUM: Final = "http://unitsofmeasure.org"
"""Code system of units."""

Element: TypeAlias = dict[str, Any]

_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?", re.ASCII)


def present(**parts: Any) -> Element:
    """The parts that are there; a name may end in ``_`` to avoid a keyword (``class_``)."""
    return {
        name.rstrip("_"): value
        for name, value in parts.items()
        if value is not None and value not in ("", [], {})
    }


def several(*items: Element | None) -> list[Element]:
    """The items of a repeating element that are there."""
    return [item for item in items if item]


def resource(resource_type: str, stream: str, **parts: Any) -> Resource:
    """A resource with its parts; ``meta.source`` is the stream's constant URI.

    Nothing of the run may stand in meta: it would make a new version every time (contract §2).
    """
    return present(resourceType=resource_type, meta={"source": f"{SOURCE_URI}/{stream}"}, **parts)


def coding(system: str, code: str, display: str | None = None) -> Element:
    """A coding."""
    return present(system=system, code=code, display=display)


def codeable_concept(*codings: Element | None, text: str | None = None) -> Element | None:
    """A concept by its codings and text."""
    return present(coding=several(*codings), text=text) or None


def number(value: Any, field: str) -> int | float:
    """A JSON number from a legacy number or its decimal text, with no digit invented or lost.

    Trailing zeros go: Medplum keeps doubles (contract §10).

    Raises:
        Quarantined: ``not-a-number``; ``number-inexact`` when a double cannot hold it.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        exact = Decimal(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        exact = Decimal(str(value))
    else:
        raise Quarantined("not-a-number", field)
    made = float(exact)
    if not math.isfinite(made) or Decimal(str(made)) != exact:
        raise Quarantined("number-inexact", field)
    return int(made) if made.is_integer() and abs(made) <= 2**53 else made


def quantity(
    value: float,
    *,
    unit: str | None = None,
    code: str | None = None,
    comparator: str | None = None,
) -> Element:
    """A quantity; ``unit`` is the source's word for it and ``code`` its UCUM code."""
    return present(
        value=value, comparator=comparator, unit=unit, system=UCUM if code else None, code=code
    )


def human_name(family: str | None, given: Iterable[str | None] = ()) -> Element | None:
    """A name."""
    return present(family=family, given=[name for name in given if name]) or None


def contact_point(system: str, value: str | None) -> Element | None:
    """A way to reach someone; ``system`` is phone, email, and so on."""
    return present(system=system, value=value) if value else None


def address(
    *,
    line: str | None = None,
    city: str | None = None,
    state: str | None = None,
    postal_code: str | None = None,
) -> Element | None:
    """An address of one line."""
    lines = [line] if line else None
    return present(line=lines, city=city, state=state, postalCode=postal_code) or None


def period(start: str | None, end: str | None = None) -> Element | None:
    """A period of FHIR dateTimes."""
    return present(start=start, end=end) or None


def annotation(text: str | None, time: str | None = None) -> Element | None:
    """A note."""
    return present(text=text, time=time) if text else None
