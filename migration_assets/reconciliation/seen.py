"""Which resources of the account were met: a bit each.

Belongs here: the set. A million resources take 125 kB, so that a comparison's memory does not grow
with what it compares.
"""


class Seen:
    """A set of the account's numbers for resources."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def __contains__(self, number: int) -> bool:
        byte, bit = divmod(number, 8)
        return byte < len(self._bits) and bool(self._bits[byte] & (1 << bit))

    def add(self, number: int) -> None:
        """Put a number in; harmless when it is there."""
        if number in self:
            return
        byte, bit = divmod(number, 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(max(1024, byte + 1 - len(self._bits), len(self._bits) // 2)))
        self._bits[byte] |= 1 << bit
        self._number += 1
