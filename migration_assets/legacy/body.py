"""From a response's bytes to JSON, within bounds of size and time.

Belongs here: reading, unpacking, parsing. Does not belong here: what a status means or whether to
try again (``transport``); what is wrong with single rows (``rows``).
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from migration_assets.legacy.failures import (
    CUT_OFF,
    HTML,
    NOT_JSON,
    NOT_UNPACKED,
    TOO_SLOW,
    UNKNOWN_PACKING,
    BodyRefusedError,
    too_large,
)

_CHUNK = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
_ANY_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19  # digits of the smallest whole number that 64 bits may not hold
_UTF8_MARK = b"\xef\xbb\xbf"  # .NET services send it; RFC 8259 lets a reader ignore it


class RawBody(Protocol):
    """What we need of urllib3's response: one ``recv`` at a time, still packed."""

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes: ...  # noqa: D102, FBT001  urllib3's signature


@dataclass(frozen=True)
class Parsed:
    """A JSON value. ``flawed``: some row holds broken bytes or a number JSON does not have."""

    value: Any
    flawed: bool = False


def read_body(
    raw: RawBody,
    encoding: str,
    *,
    max_bytes: int,
    expires: float,
    monotonic: Callable[[], float],
) -> bytearray:
    """All bytes of a body, unpacked; ``expires`` is a reading of ``monotonic``.

    ``read1`` returns after one ``recv``. With ``iter_content`` a server that sends a byte a second
    would hold us for ever, for the read timeout starts anew with every byte.

    Raises:
        BodyRefusedError: too large, too slow, cut off inside gzip, or packed in an unknown way.
    """
    packing = encoding.strip().lower()
    if packing not in {"", "identity", "gzip", "x-gzip"}:
        raise BodyRefusedError(UNKNOWN_PACKING)
    gunzip = _Gunzip(max_bytes) if packing.endswith("gzip") else None
    body = bytearray()
    while chunk := raw.read1(_CHUNK, decode_content=False):
        if gunzip is None:
            body += chunk
        else:
            gunzip.add(chunk, body)
        if len(body) > max_bytes:
            raise BodyRefusedError(too_large(max_bytes))
        if monotonic() > expires:
            raise BodyRefusedError(TOO_SLOW)
    if gunzip is not None and not gunzip.complete:
        raise BodyRefusedError(CUT_OFF)
    return body


class _Gunzip:
    """Unpacks piece by piece and stops one byte past the bound: 2 MB of gzip may hold 2 GB."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._member = zlib.decompressobj(_GZIP)
        self.complete = False

    def add(self, packed: bytes, body: bytearray) -> None:
        try:
            while packed:
                if self.complete:  # gzip allows several members one after another
                    self._member, self.complete = zlib.decompressobj(_GZIP), False
                room = self._max_bytes + 1 - len(body)
                if room <= 0:
                    return
                body += self._member.decompress(packed, room)
                self.complete = self._member.eof
                packed = self._member.unused_data or self._member.unconsumed_tail
        except zlib.error:
            broken = True
        else:
            broken = False
        if broken:
            raise BodyRefusedError(NOT_UNPACKED)


def parse(body: bytearray) -> Parsed:
    """Parse JSON; strictly first, then once more sparing the good rows of a flawed page.

    The second parser takes broken UTF-8 (kept as lone surrogates), NaN and the like, so that the
    rows that hold them can be marked and the others pass. It also keeps whole numbers of any
    length, which orjson would round beyond 64 bits: two long ids would become one.

    Raises:
        BodyRefusedError: not JSON at all.
    """
    if body.startswith(_UTF8_MARK):
        del body[: len(_UTF8_MARK)]
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        lenient = _parse_leniently(body)
    else:
        # 0.3 µs a row; a search by regular expression takes 5.
        if body.translate(_ANY_DIGIT).find(_LONG_NUMBER) < 0:
            return Parsed(parsed)
        lenient = _parse_leniently(body)
    if lenient is not None:
        return lenient
    if body.lstrip()[:1] == b"<":
        raise BodyRefusedError(HTML)
    raise BodyRefusedError(NOT_JSON)


def _parse_leniently(body: bytearray) -> Parsed | None:
    try:
        return Parsed(json.loads(body.decode("utf-8", "surrogateescape")), flawed=True)
    except (ValueError, RecursionError):
        return None
