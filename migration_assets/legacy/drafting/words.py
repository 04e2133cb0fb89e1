"""Names taken apart and compared: ``updatedAt``, ``updated_at[gte]``, ``patients``.

Belongs here: text to words. Does not belong here: what the words mean for paging, keys or times.
"""

import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME = 60
_PLURALS = (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"))


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case: ``lastModified[gte]`` → last, modified, gte."""
    return tuple(word.lower() for word in _WORD.findall(name))


@lru_cache(maxsize=10_000)
def joined(name: str) -> str:
    """A name without case and separators, to compare ``patientId`` with ``patient_id``."""
    return "".join(words(name))


def singular(name: str) -> str:
    """One of many: patients → patient, allergies → allergy. Good enough to compare names with."""
    for plural, single in _PLURALS:
        if name.endswith(plural):
            return name[: -len(plural)] + single
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def fit_name(text: str, otherwise: str) -> str:
    """Text as the name of a source or stream: letters, digits, ``_`` ``.`` ``-``."""
    fit = _UNFIT.sub("_", text).strip("_.-")[:_LONGEST_NAME].rstrip("_.-")
    return fit or otherwise


def one_line(said: str, longest: int = 60) -> str:
    """Text of a document in a comment or on a terminal: no line break, no control, not endless."""
    shown = "".join(char if char.isprintable() else " " for char in said)
    shown = " ".join(shown.split())
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
