"""From a response's bytes to JSON, within bounds of size and time.

Belongs here: reading, unpacking, parsing. Does not belong here: what a status means or whether to
try again (``transport``); what is wrong with single rows (``rows``).
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from migration_assets.legacy.deadlines import Deadline
from migration_assets.legacy.failures import (
    CUT_OFF,
    HTML,
    NOT_JSON,
    NOT_UNPACKED,
    TOO_DEEP,
    TOO_SLOW,
    UNKNOWN_PACKING,
    BodyRefusedError,
    too_large,
)

_CHUNK = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
_ANY_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19  # digits of the smallest whole number that 64 bits may not hold
_DEEPEST = 250  # levels; orjson reads 1,024 of them and writes 254
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
    deadline: Deadline,
) -> bytearray:
    """All bytes of a body, unpacked.

    ``read1`` returns after one ``recv``: what arrives is counted and judged as it arrives.

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
        if deadline.left <= 0:
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
        BodyRefusedError: not JSON at all, or nested deeper than a row could be written again.
    """
    if body.startswith(_UTF8_MARK):
        del body[: len(_UTF8_MARK)]
    parsed = _parse(body)
    if _too_deep(parsed):
        raise BodyRefusedError(TOO_DEEP)
    return parsed


def _parse(body: bytearray) -> Parsed:
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


def _too_deep(parsed: Parsed) -> bool:
    """True if a row of it might be nested deeper than it can be written again.

    What orjson has read it can write, but for depth; that tells it in 0.5 µs a row, a walk in 11.
    """
    if parsed.flawed:
        return _depth_exceeds(parsed.value, _DEEPEST)
    try:
        orjson.dumps(parsed.value)
    except orjson.JSONEncodeError:
        return True
    return False


def _depth_exceeds(value: Any, most: int) -> bool:
    left = [(value, 1)]
    while left:
        one, depth = left.pop()
        if depth > most:
            return True
        inside = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        left += [(each, depth + 1) for each in inside if isinstance(each, dict | list)]
    return False


def _parse_leniently(body: bytearray) -> Parsed | None:
    try:
        return Parsed(json.loads(body.decode("utf-8", "surrogateescape")), flawed=True)
    except (ValueError, RecursionError):
        return None
