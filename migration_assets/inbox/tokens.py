"""Who may send to the inbox: tokens by the name of a service, each for all streams or for some.

Belongs here: reading the setting, and telling a token in constant time. Does not belong here:
requests (``app``). A name may stand twice: the old token and the new one, while it is exchanged.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from migration_assets.errors import Permanent

SETTING = "MIGRATION_INBOX_TOKENS"
_SHORTEST = 16
_ENTRY = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(?:\[(?P<streams>[^\]]*)\])?=(?P<token>\S+)")


@dataclass(frozen=True)
class Service:
    """Who sends; ``streams`` None: everything."""

    name: str
    streams: frozenset[str] | None = None

    def may_send(self, stream: str) -> bool:
        """Whether the token is for this stream."""
        return self.streams is None or stream in self.streams


@dataclass(frozen=True)
class Tokens:
    """The tokens, as digests only."""

    _known: tuple[tuple[bytes, Service], ...] = field(repr=False)

    def service(self, token: str) -> Service | None:
        """Whose token it is; every one is compared, whatever was found."""
        given, found = _digest(token), None
        for digest, service in self._known:
            if hmac.compare_digest(digest, given):
                found = service
        return found


def read_tokens(text: str | None) -> Tokens:
    """The tokens of ``name=token`` or ``name[stream,fhir/Type]=token``, with blanks between them.

    Raises:
        Permanent: there are none, or one is not like that or too short; says which, never what.
    """
    entries = (text or "").replace(";", " ").split()
    if not entries:
        raise Permanent(
            f"The inbox does not start without tokens: set {SETTING} to name=token, one for each "
            "service that sends (`python -c 'import secrets; print(secrets.token_urlsafe(32))'` "
            "makes one)."
        )
    known: list[tuple[bytes, Service]] = []
    for number, entry in enumerate(entries, 1):
        form = _ENTRY.fullmatch(entry)
        if form is None:
            raise Permanent(
                f"{SETTING} cannot be used: entry {number} is not name=token or "
                "name[stream,fhir/Type]=token, with a blank between entries."
            )
        if len(form["token"]) < _SHORTEST:
            raise Permanent(
                f"{SETTING} cannot be used: the token of {form['name']} is shorter than "
                f"{_SHORTEST} characters."
            )
        limited = form["streams"]
        streams = None if limited is None else frozenset(filter(None, limited.split(",")))
        known.append((_digest(form["token"]), Service(form["name"], streams)))
    if len({digest for digest, _service in known}) < len(known):
        raise Permanent(f"{SETTING} cannot be used: two entries have the same token.")
    return Tokens(tuple(known))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
