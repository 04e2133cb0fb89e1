"""Ways to spoil a response or a description, drawn from a seeded generator.

Belongs here: spoiling. Does not belong here: what is spoiled (``fuzz_scenarios``), or what must
hold all the same (the tests).
"""

import copy
import gzip
import random
from typing import Any

import orjson

from migration_assets_tests.legacy.conftest import PERSON
from migration_assets_tests.legacy.fuzz_source import Parts
from migration_assets_tests.legacy.fuzz_values import (
    BOMB,
    HEADER_VALUES,
    HEADERS,
    MISPLACED,
    NASTY,
    RAW,
    RAW_JSON,
    VALUES,
)


class Spoiler:
    """Spoils responses of one case; equal seeds spoil equally."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  equal seeds must spoil equally
        always = set(range(1_000))
        self._victims = self._random.choice([{0}, {0}, {1}, {2}, {0, 1}, always, always])
        self._asked = -1
        often = [self._json] * 3 + [self._header] * 2
        seldom = [self._status, self._text, self._packing, None]
        self._way = self._random.choice([*often, *seldom])

    def response(self, parts: Parts) -> bytes:
        """The bytes of a response, spoiled if it is its turn."""
        self._asked += 1
        body = b"" if parts.body is None else orjson.dumps(parts.body)
        if self._asked not in self._victims:
            return _wire(parts, body)
        if self._way is None:
            return self._bytes(_wire(parts, body))
        parts, body = self._way(body, copy.deepcopy(parts))
        return _wire(parts, body)

    def _json(self, _body: bytes, parts: Parts) -> tuple[Parts, bytes]:
        """One or several places of the body hold something else."""
        for _ in range(self._random.choice([1, 1, 1, 2, 5])):
            parts.body = spoiled(parts.body, self._random)
        body = orjson.dumps(parts.body, default=lambda _: None)
        for number, raw in enumerate(RAW_JSON):
            body = body.replace(f'"{RAW.format(number)}"'.encode(), raw)
            body = body.replace(RAW.format(number).encode(), b"x")
        return parts, body

    def _header(self, body: bytes, parts: Parts) -> tuple[Parts, bytes]:
        """Headers more, less or other."""
        for _ in range(self._random.choice([1, 1, 2])):
            name, value = self._random.choice(HEADERS), self._random.choice(HEADER_VALUES)
            kept = [one for one in parts.headers if one[0] != name or self._random.random() < 0.2]
            parts.headers = [*kept, (name, value)]
        if name in ("Retry-After", "X-Reset", "Location") or self._random.random() < 0.2:
            parts.status = self._random.choice([301, 302, 429, 503, 503, 200])
        return parts, body

    def _status(self, body: bytes, parts: Parts) -> tuple[Parts, bytes]:
        """Any status there is, and some there are not."""
        parts.status = self._random.choice([self._random.randrange(100, 600), 0, 999, 1000, -200])
        if self._random.random() < 0.3:
            parts.headers.append(("Location", f"/{PERSON}"))
        return parts, self._random.choice([body, b"", b"<html>" + PERSON.encode()])

    def _text(self, body: bytes, parts: Parts) -> tuple[Parts, bytes]:
        """The body's bytes are in another encoding, cut, doubled, flipped."""
        text = body.decode("utf-8", "replace")
        cut = self._random.randrange(len(body) + 1)
        made = [
            b"\xef\xbb\xbf" + body,
            b"\xef\xbb\xbf" * 2 + body,
            text.encode("utf-16"),
            text.encode("utf-32"),
            text.replace("x", "\u00e9").encode("latin-1", "replace"),
            body[:cut],
            body[cut:],
            body + body,
            body + b"," + PERSON.encode(),
            b"\n\n\n" + body + b"\n\x00",
            b"",
            b"null",
            b"0",
            b"<html><body>" + PERSON.encode(),
            b"[" * 100_000,
            b" " * 150_000 + body,
            body.replace(b"}", b",}"),
            body.replace(b'"', b"'"),
            b")]}',\n" + body,
            b"event: x\ndata: " + body,
        ]
        return parts, self._random.choice([*made, self._bytes(body)])

    def _packing(self, body: bytes, parts: Parts) -> tuple[Parts, bytes]:
        """Gzip that is right, cut, double, or a bomb."""
        packed = gzip.compress(body, 1, mtime=0)
        cut = self._random.randrange(len(packed) + 1)
        parts.headers.append(("Content-Encoding", self._random.choice(["gzip", "x-gzip", "GZIP"])))
        made = [packed, packed[:cut], gzip.compress(packed, mtime=0), BOMB, packed + BOMB, body]
        return parts, self._random.choice([*made, self._bytes(packed)])

    def _bytes(self, wire: bytes) -> bytes:
        """Some bytes flipped, lost or doubled anywhere."""
        spoilt = bytearray(wire)
        for _ in range(self._random.choice([1, 1, 2, 8])):
            if not spoilt:
                break
            at = self._random.randrange(len(spoilt))
            match self._random.randrange(4):
                case 0:
                    spoilt[at] ^= 1 << self._random.randrange(8)
                case 1:
                    spoilt[at] = self._random.randrange(256)
                case 2:
                    del spoilt[at : at + self._random.choice([1, 5, 500])]
                case _:
                    spoilt[at:at] = self._random.choice([b"\r\n", b"\r\n\r\n", b":", b"\x00"])
        return bytes(spoilt)


def spoiled(value: Any, generator: random.Random) -> Any:
    """The value with one place of it replaced, removed, doubled or wrapped."""
    if isinstance(value, dict) and value and generator.random() < 0.85:
        name = generator.choice(list(value))
        changed = dict(value)
        if generator.random() < 0.1:
            del changed[name]
        elif generator.random() < 0.1:
            changed[str(generator.choice(VALUES))] = changed.pop(name)
        else:
            changed[name] = spoiled(value[name], generator)
        return changed
    if isinstance(value, list) and value and generator.random() < 0.85:
        at = generator.randrange(len(value))
        changed_list = list(value)
        match generator.randrange(6):
            case 0:
                del changed_list[at]
            case 1:
                changed_list.insert(at, changed_list[generator.randrange(len(value))])
            case _:
                changed_list[at] = spoiled(value[at], generator)
        return changed_list
    if generator.random() < 0.1:
        return [value]
    return generator.choice(VALUES)


def spoiled_description(described: Any, generator: random.Random) -> Any:
    """The description with one field, however deep, replaced, removed or added."""
    if isinstance(described, dict) and described and generator.random() < 0.9:
        changed = dict(described)
        name = generator.choice(list(changed))
        chance = generator.random()
        if chance < 0.05:
            del changed[name]
        elif chance < 0.1:
            changed[generator.choice(["x", "X-Y", "", "env"])] = generator.choice(NASTY)
        elif chance < 0.2 and set(changed) & set(MISPLACED):
            name = generator.choice(sorted(set(changed) & set(MISPLACED)))
            changed[name] = MISPLACED[name]
        else:
            changed[name] = spoiled_description(changed[name], generator)
        return changed
    if isinstance(described, list) and described and generator.random() < 0.9:
        at = generator.randrange(len(described))
        return [
            spoiled_description(one, generator) if n == at else one
            for n, one in enumerate(described)
        ]
    alike = [one for one in NASTY if type(one) is type(described)]
    return generator.choice(alike if alike and generator.random() < 0.7 else NASTY)


def unspoiled(parts: Parts) -> bytes:
    """The bytes of a response as they should be."""
    return _wire(parts, b"" if parts.body is None else orjson.dumps(parts.body))


def _wire(parts: Parts, body: bytes) -> bytes:
    """The bytes as a server sends them."""
    names = {name.lower() for name, _ in parts.headers}
    headers = [*parts.headers]
    if not names & {"content-length", "transfer-encoding"}:
        headers.append(("Content-Length", str(len(body))))
    lines = [f"HTTP/1.1 {parts.status} {PERSON}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
