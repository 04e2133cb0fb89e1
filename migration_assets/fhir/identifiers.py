"""Business identifiers: how a record is found again, in a resource and in a search.

Belongs here: systems, identifier elements, search tokens and their escaping. Does not belong
here: references (``references``) or asking a server anything (``medplum``).
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from migration_assets.mapping import SOURCE_URI, Quarantined

_NAMES: Final = {"Condition": "patientConditionId"}
"""The guide's one exception: ``conditionId`` is the system of its local condition codes."""

_BLANKS: Final = "\ufeff"
"""Blank for JavaScript's ``trim`` though not for Python's ``strip``."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]*")
"""Characters that no URL needs encoded."""

_FORBIDDEN: Final = frozenset(map(chr, range(32))) - frozenset("\t\n\r")
"""What Medplum refuses in any string (contract §10)."""


def local_system(name: str) -> str:
    """The URI under which the source's own ``name`` values are kept."""
    return f"{SOURCE_URI}/{name}"


def identifier_system(resource_type: str) -> str:
    """The system of the source's keys of a type: ``…/patientId`` for Patient."""
    name = _NAMES.get(resource_type) or f"{resource_type[0].lower()}{resource_type[1:]}Id"
    return local_system(name)


def identified_type(system: str) -> str | None:
    """The type whose keys a system holds: the inverse of ``identifier_system``."""
    name = system.removeprefix(f"{SOURCE_URI}/")
    named = {each: kind for kind, each in _NAMES.items()}
    kind = named.get(name) or name[:1].upper() + name[1:].removesuffix("Id")
    return kind if kind and identifier_system(kind) == system else None


def identifier(resource_type: str, value: str, field: str = "") -> dict[str, str]:
    """The identifier element of the record ``value``; ``field`` is the row's field it comes from.

    Raises:
        Quarantined: ``identifier-blank``; ``identifier-padded`` (Medplum trims, so a padded value
            never matches and every run makes a duplicate, contract §2; trimming it here could
            merge two records); ``identifier-unreadable`` (control characters, lone surrogates).
    """
    return {"system": identifier_system(resource_type), "value": checked_key(value, field)}


def checked_key(value: str, field: str = "") -> str:
    """``value`` unchanged, if it can serve as the value of an identifier.

    Raises:
        Quarantined: as ``identifier``.
    """
    stripped = value.strip().strip(_BLANKS)
    if not stripped:
        raise Quarantined("identifier-blank", field)
    if stripped != value:
        raise Quarantined("identifier-padded", field)
    if not value.isprintable() and (  # nearly every key is printable, and told so at C speed
        not _FORBIDDEN.isdisjoint(value) or any("\ud800" <= each <= "\udfff" for each in value)
    ):
        raise Quarantined("identifier-unreadable", field)
    return value


def search_token(system: str, value: str) -> str:
    r"""``system|value`` as FHIR search wants it: ``\`` and ``,`` escaped, not percent-encoded.

    Unescaped, a comma means OR and matches nothing: a duplicate on every run (contract §2).

    Raises:
        ValueError: the system holds a bar, so that no reader could tell where it ends.
    """
    if "|" in system:
        raise ValueError("An identifier system must not contain a bar.")
    return f"{_escaped(system)}|{_escaped(value)}"


def split_search_token(text: str) -> tuple[str, str]:
    """System and value of a search token: the inverse of ``search_token``.

    Raises:
        ValueError: the token has no bar, an unescaped comma, or an escape that is cut off.
    """
    system, bar, value = text.partition("|")
    if not bar:
        raise ValueError("A search token needs a bar between system and value.")
    return _unescaped(system), _unescaped(value)


def percent_encoded(text: str, *, safe: str = "") -> str:
    """``text`` for a URL's query; ``safe`` names further characters left as they are."""
    system, bar, value = text.partition("|")
    if bar and _PLAIN.fullmatch(value):  # nearly every key: only its system needs the work, once
        return _quoted(system, safe) + _quoted(bar, safe) + value
    return quote(text, safe=safe)


@lru_cache(maxsize=256)
def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,")


def _unescaped(text: str) -> str:
    if "\\" not in text and "," not in text:
        return text
    characters = iter(text)
    out: list[str] = []
    for each in characters:
        if each == ",":
            raise ValueError("A search token with a bare comma is two tokens.")
        if each == "\\":
            following = next(characters, None)
            if following is None:
                raise ValueError("A search token must not end in a bare backslash.")
            out.append(following)
        else:
            out.append(each)
    return "".join(out)
