"""Encryption at rest: payloads are sealed, hashes of content are masked, while a key is set.

Belongs here: keys, and what bytes look like under them. Does not belong here: SQL, or when what
was written before is sealed anew (``rotation``).

What is protected, with ``MIGRATION_ENCRYPTION_KEYS`` set: the row (payload), by Fernet (AES-128-CBC
with HMAC-SHA256). And everything computed from content that only serves to tell whether it
changed: the row's hash, and the prints of what Medplum confirmed or was sent. A bare hash of a row
with few possible values (a yes or no, a date of birth) is guessed in seconds, so each 16-byte hash
goes through AES-256 as one block, under a key made from the newest one: nobody without the key can
test a guess, and who has it gets the very hash back. That is why change detection goes on across a
rotation, for rows landed before there was a key, and for rows whose payload was purged.

What is not: keys, identifiers and ids (a unit is found by them), change and landing times, states,
reasons, field names, counts, sizes, and what people write into notes. A row without a usable key is
named by a hash of its whole content, and of two rows with one key the second bears twelve digits of
one: such a name is a key, and stays as it is. Equal content shows as equal masks. Who can write the
database can still swap rows. Nor does anything here reach backups, PostgreSQL's WAL archive, or
free pages of a PostgreSQL table (VACUUM FULL).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from migration_assets.errors import Permanent

SETTING = "MIGRATION_ENCRYPTION_KEYS"
_SEALED = b"\x01"  # zlib begins with 0x78, and a purged payload is empty
MARK_BYTES = 5
"""How many bytes at the beginning say that, and by which key."""
_KEY_BYTES = 32
BARE_BYTES = 16
"""Bytes of a hash that is stored without a mask."""
_PRINT = re.compile(r"[0-9a-f]{32}")
_MASKED_PRINT = re.compile(r"[0-9a-f]{8}:[0-9a-f]{32}")
_OPTION = "migration_seals"


def new_key() -> str:
    """A key for ``MIGRATION_ENCRYPTION_KEYS``."""
    return Fernet.generate_key().decode()


class Seals:
    """The keys of an account, newest first; without any, everything is written as it is."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """Take keys as ``new_key`` makes them.

        Raises:
            Permanent: one of them is not such a key; says which, never what it is.
        """
        raw = [_bytes_of(key.strip(), number) for number, key in enumerate(keys, 1)]
        self._fernets = MultiFernet([Fernet(base64.urlsafe_b64encode(one)) for one in raw] or _NONE)
        self._marks = {_mark(one): _blocks(one) for one in raw}
        self.newest: bytes | None = _mark(raw[0]) if raw else None
        """What begins everything written with the newest key; None without keys."""

    @property
    def names(self) -> list[str]:
        """The names of the keys, newest first: they say nothing about them."""
        return [mark[1:].hex() for mark in self._marks]

    def seal(self, payload: bytes) -> bytes:
        """A payload as it is stored."""
        if self.newest is None or not payload:
            return payload
        # Fernet's text is base64: a quarter of the space would hold nothing.
        return self.newest + base64.urlsafe_b64decode(self._fernets.encrypt(payload))

    def unseal(self, stored: bytes) -> bytes:
        """The payload that was stored, with or without a seal.

        Raises:
            Permanent: the key it was sealed with is not set, or the bytes were damaged.
        """
        if stored[:1] != _SEALED:
            return stored
        self._require(stored[:MARK_BYTES])
        try:
            return self._fernets.decrypt(base64.urlsafe_b64encode(stored[MARK_BYTES:]))
        except InvalidToken:
            raise Permanent(
                "Reading a landed row failed: its sealed payload was damaged in the database, and "
                "is left as it is. Restore the manifest from a backup, or pull the window again "
                "into a new one."
            ) from None

    def mask(self, row_hash: bytes) -> bytes:
        """A hash of content as it is stored."""
        if self.newest is None:
            return row_hash
        return self.newest + _once(self._marks[self.newest], row_hash, back=False)

    def unmask(self, stored: bytes) -> bytes:
        """The hash that was stored. Raises Permanent as ``unseal``."""
        if len(stored) == BARE_BYTES:
            return stored
        mark = stored[:MARK_BYTES]
        self._require(mark)
        return _once(self._marks[mark], stored[MARK_BYTES:], back=True)

    def mask_print(self, text: str | None) -> str | None:
        """A fingerprint as it is stored; what is no hash (a deletion's) stays as it is."""
        if self.newest is None or text is None or not _PRINT.fullmatch(text):
            return text
        masked = self.mask(bytes.fromhex(text))
        return f"{masked[1:MARK_BYTES].hex()}:{masked[MARK_BYTES:].hex()}"

    def unmask_print(self, stored: str | None) -> str | None:
        """The fingerprint that was stored. Raises Permanent as ``unseal``."""
        if stored is None or not _MASKED_PRINT.fullmatch(stored):
            return stored
        name, _, masked = stored.partition(":")
        return self.unmask(_SEALED + bytes.fromhex(name) + bytes.fromhex(masked)).hex()

    def refuse_strange(self, stored: bytes | None) -> None:
        """Refuse to write beside what we cannot read: open, or under a stray key.

        ``stored`` is the hash of the unit landed last. Raises Permanent.
        """
        if stored is not None and len(stored) != BARE_BYTES:
            self._require(stored[:MARK_BYTES])

    def _require(self, mark: bytes) -> None:
        if mark in self._marks:
            return
        name = mark[1:].hex()
        unset = f"{SETTING} is not set" if not self._marks else f"it is not among {SETTING}"
        raise Permanent(
            f"Reading landed rows failed: they are sealed with the key {name}, and {unset}. Set "
            f"{SETTING} to the keys in use, newest first, the old ones after it until `migration "
            "seal` has run. Nothing is lost meanwhile."
        )


def attached(engine: sa.Engine, seals: Seals) -> sa.Engine:
    """The same engine, its connections knowing the keys."""
    return engine.execution_options(**{_OPTION: seals})


def seals_of(connection: sa.Connection) -> Seals:
    """The keys that a connection's engine was opened with."""
    found: Seals = connection.get_execution_options().get(_OPTION, OPEN)
    return found


def _bytes_of(key: str, number: int) -> bytes:
    try:
        raw = base64.b64decode(key.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise Permanent(
            f"{SETTING} cannot be used: entry {number} is not a key of 32 bytes in URL-safe "
            "base64. `migration seal --new-key` makes one."
        )
    return raw


def _mark(key: bytes) -> bytes:
    name = hashlib.blake2b(key, digest_size=MARK_BYTES - 1, person=b"migration-name").digest()
    return _SEALED + name


def _blocks(key: bytes) -> Cipher[modes.ECB]:
    """AES for single blocks; its key is made from the one given, which seals payloads already."""
    masking = hashlib.blake2b(key, digest_size=_KEY_BYTES, person=b"migration-mask").digest()
    return Cipher(algorithms.AES(masking), modes.ECB())  # noqa: S305 - one block: nothing to chain


def _once(cipher: Cipher[modes.ECB], block: bytes, *, back: bool) -> bytes:
    step = cipher.decryptor() if back else cipher.encryptor()
    return step.update(block) + step.finalize()


_NONE = [Fernet(Fernet.generate_key())]  # MultiFernet wants one; without keys nobody asks it
OPEN = Seals()
"""No keys: what a manifest is opened with unless some are set."""
