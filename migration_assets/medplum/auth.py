"""Client credentials for Medplum (contract §1): one token, refreshed before it expires.

Medplum answers wrong credentials with 400 ``invalid_request``, never 401; and 401 on a FHIR URL
does not tell expired from wrong, so it is tried once more with a fresh token.
"""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus

import requests
from pydantic import SecretStr

from migration_assets.errors import Permanent, Transient

_EARLY_SECONDS = 60.0
_FAULTS = 500  # and above: the server's own, which pass


class ClientCredentials:
    """Fetches and keeps the bearer token of one ClientApplication."""

    def __init__(
        self,
        session: requests.Session,
        base_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        timeout: tuple[float, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._url = f"{base_url}oauth2/token"
        self._client_id = client_id
        self._client_secret = client_secret
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires_at = 0.0

    def header(self, *, fresh: bool = False) -> dict[str, str]:
        """The Authorization header; ``fresh`` after a 401. Raises Permanent or Transient."""
        with self._lock:
            if fresh or self._token is None or self._clock() > self._expires_at:
                self._fetch()
            return {"Authorization": f"Bearer {self._token}"}

    def _fetch(self) -> None:
        doing = f"Asking Medplum at {self._url} for a token"
        try:
            answer = self._session.post(
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
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or answer.status_code >= _FAULTS:
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
