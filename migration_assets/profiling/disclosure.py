"""What a profile may show of values: almost nothing, by rule.

Belongs here: the rules, and nothing that counts. Does not belong here: how it is shown. A value is
shown only if it is one of few short codes of its field, each held by at least ``LEAST`` rows, and
the field is no key, no reference and not named like something that identifies a person. Extremes
are told coarsely. Everything else is counts, shapes (``A999``) and lengths.
"""

import re
from collections.abc import Mapping
from typing import Final

LEAST: Final = 5
"""Rows a value must occur in to be shown; the usual threshold for small cells in health data."""
MOST_CODES: Final = 50
"""Different values a field of codes has at most."""
LONGEST_CODE: Final = 40
_SHARE_OF_CODES: Final = 0.2
_SHOWN: Final = 12
_LARGE: Final = 10_000_000
"""Integers from here on are as long as the numbers of people, insurances and telephones."""

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_KEY: Final = re.compile(r"(^|_)(id|ids|key|uuid|guid|oid|ref|mrn|no|nr|number|num)$")
_PERSONAL: Final = re.compile(
    r"(^|_)(first|last|given|family|middle|maiden|full|sur|user|login|display|patient|person|"
    r"contact|mother|father|spouse|guardian|emergency)_?names?(_|$)|"
    r"(^|_)(name|names|surname|nickname|initials|title|prefix|suffix|birth|born|birthday|birthdate|"
    r"dob|dod|death|died|deceased|phone|telephone|tel|mobile|cell|fax|email|mail|address|addr|"
    r"street|line|line1|line2|city|town|village|zip|zipcode|postal|postcode|postal_code|plz|ssn|"
    r"nin|nhs|npi|medicare|medicaid|insurance|policy|member|account|licen[cs]e|passport|iban|mrn|"
    r"photo|image|url|ip|lat|lon|latitude|longitude|note|notes|comment|comments|remark|remarks|"
    r"memo|text|narrative|conclusion|summary|history|description|employer|occupation|religion|"
    r"ethnicity|race)(_|$)"
)
_LIFE: Final = re.compile(r"(^|_)(birth|born|birthday|birthdate|dob|dod|death|died|deceased)(_|$)")


def is_key_like(name: str) -> bool:
    """Whether a field's name says that it is a key, a number of something, or a reference."""
    return bool(_KEY.search(_snake(name)))


def dates_a_life(name: str) -> bool:
    """Whether the field says when somebody was born or died: then years are all that is told."""
    return bool(_LIFE.search(_snake(name)))


def may_be_shown(name: str) -> bool:
    """Whether the field's name lets its values be codes."""
    snake = _snake(name)
    return not _KEY.search(snake) and not _PERSONAL.search(snake)


def codes_shown(name: str, codes: Mapping[str, int] | None) -> dict[str, int]:
    """The frequent values of a field of codes; empty for any other field.

    ``codes`` are all values of the field with their counts, or None when there are too many.
    """
    if not codes or not may_be_shown(name):
        return {}
    if len(codes) > max(2, _SHARE_OF_CODES * sum(codes.values())):
        return {}
    frequent = [(value, count) for value, count in codes.items() if count >= LEAST]
    frequent.sort(key=lambda each: (-each[1], each[0]))
    return dict(frequent[:_SHOWN])


def extreme_shown(name: str, value: float, *, unique: bool) -> str | None:
    """A least or greatest number as it may be told; None where it could be somebody's number."""
    if not may_be_shown(name):
        return None
    if abs(value) >= _LARGE or (unique and value == int(value)):
        return f"{len(str(abs(int(value))))} digits"
    return f"{value:g}"


def _snake(name: str) -> str:
    return _CAMEL.sub("_", name).lower().replace("-", "_").replace(" ", "_")
