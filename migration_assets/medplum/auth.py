"""Credentials for Medplum (contract §1): a bearer token kept fresh, or HTTP Basic.

Medplum answers wrong credentials with 400 ``invalid_request``, never 401; and 401 on a FHIR URL
does not tell expired from wrong, so it is tried once more with a fresh token. The token endpoint
takes 160 requests per minute and address, all processes together: a token is asked for once,
however many threads were refused with the one before.
"""

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol

import requests
from pydantic import SecretStr

from migration_assets.errors import Permanent, Transient
from migration_assets.private_addresses import keep_addresses_private

_EARLY_SECONDS = 60.0
_FAULTS = 500  # and above: the server's own, which pass
_WINDOW_LEFT = re.compile(r'"requests";r=\d+;t=(\d+)')
_MINUTE = 60.0  # the window of the token endpoint's limit


def new_session() -> requests.Session:
    """A session that goes to the declared server only, whatever proxies the environment names."""
    keep_addresses_private()
    session = requests.Session()
    session.trust_env = False
    return session


class Credential(Protocol):
    """What opens a FHIR URL."""

    @property
    def renewable(self) -> bool:
        """Whether asking again after a 401 can help."""

    def header(self, *, refused: Mapping[str, str] | None = None) -> dict[str, str]:
        """The Authorization header, another than the one that was ``refused``.

        Raises Permanent or Transient when there is none to be had.
        """


class BasicCredential:
    """Id and secret with every request: no token to fetch, to expire or to lose with a Redis."""

    renewable = False

    def __init__(self, client_id: str, client_secret: SecretStr) -> None:
        self._client_id = client_id
        self._client_secret = client_secret

    def header(
        self,
        *,
        refused: Mapping[str, str] | None = None,  # noqa: ARG002 - there is no other to be had
    ) -> dict[str, str]:
        """The same each time."""
        pair = f"{self._client_id}:{self._client_secret.get_secret_value()}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class ClientCredentials:
    """Fetches and keeps the bearer token of one ClientApplication."""

    renewable = True

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        timeout: tuple[float, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = new_session()
        self._url = f"{base_url}oauth2/token"
        self._client_id = client_id
        self._client_secret = client_secret
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires_at = 0.0

    def header(self, *, refused: Mapping[str, str] | None = None) -> dict[str, str]:
        """The token's header; another one if this was ``refused``. Raises Permanent, Transient."""
        with self._lock:
            stale = self._token is None or self._clock() > self._expires_at
            if stale or self._as_header() == refused:
                self._fetch()
            return self._as_header()

    def _as_header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _fetch(self) -> None:
        doing = f"Asking Medplum at {self._url} for a token"
        answer = self._ask(doing)
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            left = _WINDOW_LEFT.search(answer.headers.get("RateLimit", ""))
            raise Transient(
                f"{doing} was answered 429: others at this address ask for tokens too.",
                retry_after=float(left[1]) if left else _MINUTE,
            )
        if answer.status_code >= _FAULTS:
            raise Transient(f"{doing} was answered {answer.status_code}. Try again in a minute.")
        if answer.status_code in (400, 401):
            raise Permanent(
                f"{doing} was refused ({answer.status_code}): Medplum says so when the client id "
                "or the secret is wrong. Check MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET."
            )
        try:
            told = answer.json()
            self._token = str(told["access_token"])
            lifetime = float(told.get("expires_in", 3600))
        except (ValueError, KeyError, TypeError):
            raise Permanent(
                f"{doing} was answered {answer.status_code} without a token. Is MEDPLUM_BASE_URL "
                "the address of a Medplum server?"
            ) from None
        # A lifetime of seconds (ClientApplication.accessTokenLifetime) must still be used.
        self._expires_at = self._clock() + max(lifetime - _EARLY_SECONDS, lifetime / 2)

    def _ask(self, doing: str) -> requests.Response:
        try:
            return self._session.post(
                self._url,
                data={
                    "grant_type": "client_credentials",
                    "client_id": self._client_id,
                    "client_secret": self._client_secret.get_secret_value(),
                },
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise Transient(
                f"{doing} failed: {type(error).__name__}. Is MEDPLUM_BASE_URL right and the "
                "server up?"
            ) from None
