"""The session with a source: what holds for every request, before anything is asked.

Belongs here: what ``requests`` would do of its own accord and must not (environment, cookies,
redirects, waiting for ever). Does not belong here: attempts and what an answer means
(``attempts``).
"""

import http.cookiejar
from collections.abc import Callable
from pathlib import Path

import requests

from migration_assets.errors import Permanent
from migration_assets.legacy.deadlines import Deadline, DeadlineAdapter
from migration_assets.legacy.description import Source
from migration_assets.private_addresses import keep_addresses_private


class Session(requests.Session):
    """A session that obeys ``deadline`` and knows no redirects."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline
        for scheme in ("https://", "http://"):
            self.mount(scheme, DeadlineAdapter(deadline))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None for every answer: requests would read the whole body of a redirect, unbounded.

        It does so even with ``allow_redirects=False``, to prepare a request that nobody sends.
        """


def session_for(
    source: Source, monotonic: Callable[[], float], *, proxy: str | None = None
) -> Session:
    """A session without environment or cookies, TLS verified.

    Raises:
        Permanent: the authority that ``http.verify`` names is not there, or the proxy is none.
    """
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise Permanent(f"source {source.name}: http.proxy should begin with http:// or https://")
    verify = source.http.verify
    if isinstance(verify, str) and not _is_there(verify):
        raise Permanent(f"source {source.name}: http.verify names {verify}, which is not there")
    keep_addresses_private()
    session = Session(Deadline(monotonic))
    session.trust_env = False
    if proxy is not None:
        session.proxies = {"http": proxy, "https": proxy}
    session.verify = verify
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(
        {
            "User-Agent": "migration_assets",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Cache-Control": "no-cache",
        }
    )
    session.headers.update({n: v for n, v in source.headers.items() if isinstance(v, str)})
    return session


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # no name a file could have
        return False
