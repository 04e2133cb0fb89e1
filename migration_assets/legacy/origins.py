"""Where a URL leads, and where we may go: origins, loopback, plain http.

Belongs here: pure questions about URLs. Does not belong here: making requests, or showing a URL:
``place`` is the only form of one that may appear in a message.
"""

import ipaddress
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host in lower case, port: what a credential belongs to."""

_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> Origin | None:
    """The origin of an absolute http(s) URL, or None if it has none we would go to."""
    parts = _split(url)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    try:
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, parts.hostname.lower(), port or _PORTS[parts.scheme]


def origin_text(origin: Origin) -> str:
    """``https://host``, with the port if it is not the usual one."""
    scheme, host, port = origin
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port == _PORTS[scheme] else f"{scheme}://{shown}:{port}"


def place(url: str) -> str:
    """Scheme, host and path: the part of a declared URL that may be shown."""
    origin, parts = origin_of(url), _split(url)
    if origin is None or parts is None:
        return "(not an http address)"
    return origin_text(origin) + parts.path


def is_loopback(origin: Origin) -> bool:
    """True for this machine itself, the only place plain http may go unasked."""
    host = origin[1]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def base_url_problem(url: str, *, allow_plain_http: bool) -> str | None:
    """What is wrong with a base or token URL, as the end of a sentence; None if nothing is."""
    origin, parts = origin_of(url), _split(url)
    if parts is not None and "@" in parts.netloc:
        return "holds a user or password: use auth"
    if origin is None or parts is None:
        return "should begin with https:// and a host"
    if parts.query or parts.fragment:
        return "should hold no query and no fragment: use params"
    if origin[0] == "http" and not (allow_plain_http or is_loopback(origin)):
        return (
            "is plain http: rows and credentials would cross the network unprotected; "
            "use https, or set http.allow_plain_http if this network is yours"
        )
    return None


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
