"""How many different values there are, and how many of them repeat, in bounded memory.

Adaptive sampling (Wegman; Flajolet 1990): of every value's hash only those are kept that end in
``level`` zero bits; when more than ``BOUND`` are kept the level rises by one. While the level is
0 the numbers are exact. Above it ``2 ** level`` times the kept hashes estimate the different
values, within about 2 %, and the kept ones that repeat show whether values repeat at all.
"""

import hashlib
from collections import Counter
from typing import Any

BOUND = 4096
"""Hashes kept for one field; some 400 kB at most."""


class DistinctSample:
    """Different values of one field, seen one after another; values themselves are not kept."""

    def __init__(self) -> None:
        self._level = 0
        self._kept: Counter[int] = Counter()
        self._seen = 0

    def add(self, kind: str, value: Any, count: int) -> None:
        """Note a scalar value that occurs ``count`` times; 1, 1.0, true and "1" are different."""
        self._seen += count
        hashed = _hashed(kind, value)
        if hashed & ((1 << self._level) - 1) == 0:
            self._kept[hashed] += count
            self._shrink()

    @property
    def exact(self) -> bool:
        """Whether every value was looked at."""
        return self._level == 0

    @property
    def distinct(self) -> int:
        """Different values; an estimate unless ``exact``."""
        return min(len(self._kept) << self._level, self._seen)

    @property
    def repeated(self) -> int:
        """Different values that occur more than once; an estimate unless ``exact``."""
        return sum(count > 1 for count in self._kept.values()) << self._level

    def _shrink(self) -> None:
        while len(self._kept) > BOUND:
            self._level += 1
            mask = (1 << self._level) - 1
            self._kept = Counter({k: count for k, count in self._kept.items() if k & mask == 0})


def _hashed(kind: str, value: Any) -> int:
    # Hexadecimal: Python writes no integer of more than 4,300 decimal digits.
    written = f"{value:x}" if isinstance(value, int) else str(value)
    text = f"{kind}\0{written}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
