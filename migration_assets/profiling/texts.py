"""A text's shape, and what is wrong with how it is written.

Belongs here: judging one text. Does not belong here: counting. A shape says where letters and
digits stand and nothing more: ``P0012`` is ``A9999``.
"""

import re
import unicodedata
from itertools import groupby
from typing import Final

_LONGEST_SHAPE: Final = 20
_SHAPED: Final = 400  # characters looked at: the beginning says how a long text is built
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
_ENTITY: Final = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_SUSPECT: Final = re.compile("[ÂÃâÄÅÐÑ][\u0080-\u00bf\u0152-\u0178\u02c6\u02dc\u2013-\u2122]")
_FLAWS: Final = {
    "control character": _CONTROL,
    "invisible character": _INVISIBLE,
    "HTML entity": _ENTITY,
    "replacement character": re.compile("\ufffd"),
}
_BLANK: Final = "␣"


def shape_of(text: str) -> str:
    """Letters as A or a, digits as 9, blanks as ␣; long or many-worded texts in runs (``A+``)."""
    marks = "".join(map(_mark, text[:_SHAPED]))
    if len(text) <= _LONGEST_SHAPE and _BLANK not in marks:
        return marks
    runs = (
        mark + ("+" if sum(1 for _ in run) > 1 and mark.isalnum() else "")
        for mark, run in groupby(marks)
    )
    shape = "".join(runs)
    return shape if len(shape) <= _LONGEST_SHAPE else shape[: _LONGEST_SHAPE - 1] + "…"


def flaws_of(text: str) -> list[str]:
    """What is wrong with how a text is written: mojibake, lone surrogates, padding and the like."""
    found = ["padding"] if text != text.strip() else []
    if text.isascii():
        if text.isprintable() and "&" not in text:
            return found
    elif _is_broken(text):
        return [*found, "lone surrogate"]
    else:
        if _is_mojibake(text):
            found.append("mojibake")
        if not unicodedata.is_normalized("NFC", text):
            found.append("not in normal form C")
    return found + [name for name, flaw in _FLAWS.items() if flaw.search(text)]


def _mark(character: str) -> str:
    if character.isalpha():
        return "a" if character.islower() else "A"
    if character.isdigit():
        return "9"
    if character.isspace():
        return _BLANK
    return character if character.isascii() and character.isprintable() else "¿"


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_mojibake(text: str) -> bool:
    """UTF-8 that was read as Latin-1 or Windows-1252: turned back, it is valid and shorter."""
    if not _SUSPECT.search(text):
        return False
    for encoding in ("cp1252", "latin-1"):
        try:
            if len(text.encode(encoding).decode()) < len(text):
                return True
        except UnicodeError:
            continue
    # Mixed with sound text it cannot be turned back as a whole; the part found gives it away.
    return any(_turned_back(part.group()) for part in _SUSPECT.finditer(text))


def _turned_back(part: str) -> bool:
    for encoding in ("cp1252", "latin-1"):
        try:
            part.encode(encoding).decode()
        except UnicodeError:
            continue
        return True
    return False
