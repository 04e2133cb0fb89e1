"""What a report may name: everything, or neither keys nor values.

Belongs here: the one rule by which keys, values and people's notes get into a report. Does not
belong here: what is told. A key becomes a short hash with a salt that is thrown away: the same row
is known again within one report, and nobody can try keys until one fits.
"""

import hashlib
from dataclasses import dataclass

_HEX = 8


@dataclass(frozen=True)
class Withholding:
    """``everything``: keys and values are told as they are."""

    everything: bool
    salt: bytes

    def key(self, stream: str, key: str) -> str:
        """A key, or a hash in its place."""
        if self.everything:
            return key
        text = f"{stream}\0{key}".encode(errors="surrogatepass")
        return "#" + hashlib.blake2b(text, key=self.salt, digest_size=16).hexdigest()[:_HEX]

    def value(self, text: str | None) -> str | None:
        """A value, or nothing."""
        return text if self.everything else None
