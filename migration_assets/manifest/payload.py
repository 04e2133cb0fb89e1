"""A row as bytes: canonical JSON, compressed, sealed where a key is set; and its hash.

Keys are sorted, so that a source that reorders them has not changed a row, and so that one
serialisation serves both hash and payload. A purged payload is empty: the row is gone, its hash is
not.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable
from typing import Any

import orjson

from migration_assets.manifest.sealing import OPEN, Seals

_LEVEL = 1  # rows are small: a higher level costs CPU on every row and saves little


def canonical(row: Any) -> bytes:
    """Canonical JSON of a row.

    A row with broken UTF-8 holds lone surrogates, which orjson refuses: the stdlib escapes them,
    so that the original bytes can still be recovered from the payload. Integers beyond 64 bits
    take the same way.
    """
    try:
        return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(row, sort_keys=True, separators=(",", ":")).encode("ascii")


def without(row: Any, volatile: Iterable[str]) -> Any:
    """The row without the fields at these dotted paths; the row itself is left as it is."""
    for path in volatile:
        row = _without(row, path.split("."))
    return row


def _without(value: Any, path: list[str]) -> Any:
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        return [_without(each, path) for each in value]
    if not isinstance(value, dict) or first not in value:
        return value
    kept = {name: each for name, each in value.items() if name != first or rest}
    if rest:
        kept[first] = _without(value[first], rest)
    return kept


def row_hash(canonical_json: bytes) -> bytes:
    """16 bytes of BLAKE2b: equal hashes are taken as equal rows (2^-64 at billions of rows)."""
    return hashlib.blake2b(canonical_json, digest_size=16).digest()


class Purged:
    """What stands for a row whose payload was dropped: its outcome was proved long ago."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<purged row>"


PURGED = Purged()
NO_PAYLOAD = b""
"""What is stored for it."""


def pack(canonical_json: bytes, seals: Seals = OPEN) -> bytes:
    """The payload as it is stored."""
    return seals.seal(zlib.compress(canonical_json, _LEVEL))


def unpack(payload: bytes, seals: Seals = OPEN) -> Any:
    """The row a stored payload holds, or ``PURGED``. Raises Permanent as ``Seals.unseal``."""
    if payload == NO_PAYLOAD:
        return PURGED
    text = zlib.decompress(seals.unseal(payload))
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # escaped lone surrogates: valid for the stdlib only
        return json.loads(text)
