"""The wire to one Medplum project: requests under a credential, and what a refusal means.

Belongs here: requests, time-outs, tokens, the quota header, errors. Does not belong here: bundles,
searches, or what an entry's outcome leads to. Redirects are never followed and environment
proxies are ignored: the credential and the records leave for the declared server only.
"""

import itertools
import threading
from collections.abc import Mapping
from http import HTTPStatus

import requests

from migration_assets.errors import Permanent, Transient
from migration_assets.medplum.auth import Credential, new_session
from migration_assets.medplum.outcomes import failure
from migration_assets.medplum.quota import Pacer

Body = bytes | Mapping[str, str] | None
"""FHIR JSON, a form, or nothing."""

TIMEOUT = (10.0, 120.0)  # Medplum's own statement timeout is 60 s, twice that with its retry
_FOR_CONTENT = frozenset({400, 413, 414, 422})
_SERVER_FAULTS = frozenset({408, 425, 500, 502, 503, 504})


class Ambiguous(Transient):
    """The request may have been carried out although no whole answer came (contract §3)."""


class Throttled(Transient):
    """The quota is spent (429): nothing of the request was carried out."""


class Unacceptable(Permanent):
    """The request was refused for what it holds, by the server or by a firewall before it.

    Nothing of it was carried out. One entry may be the cause: the others can go without it.
    """


class Wire:
    """Carries requests below ``fhir/R4``; several threads may share it."""

    def __init__(
        self, base_url: str, credential: Credential, pacer: Pacer, *, timeout: tuple[float, float]
    ) -> None:
        self._fhir = f"{base_url}fhir/R4"
        self._credential = credential
        self._pacer = pacer
        self._timeout = timeout
        self._of_thread = threading.local()
        self._opened: list[requests.Session] = []
        self._count = itertools.count()
        self.requests_made = 0

    def answer(
        self,
        method: str,
        path: str,
        body: Body,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Whatever came back.

        Raises:
            Ambiguous: nothing came back, or only half of it.
            Transient: no connection, or no token for now.
            Permanent: no token for these credentials.
        """
        try:
            return self._request(method, path, body, headers or {})
        except requests.ConnectTimeout as error:
            raise Transient(f"{what} failed: no connection ({type(error).__name__}).") from None
        except requests.RequestException as error:
            raise Ambiguous(
                f"{what} ended without a whole answer ({type(error).__name__}). "
                "Is the Medplum server up?"
            ) from None

    @property
    def _session(self) -> requests.Session:
        """This thread's own: a session is not made to be shared."""
        session: requests.Session | None = getattr(self._of_thread, "session", None)
        if session is None:
            session = self._of_thread.session = new_session()
            self._opened.append(session)
        return session

    def close(self) -> None:
        """Close every thread's connections; a later request opens new ones."""
        for session in self._opened:
            session.close()

    def _request(
        self, method: str, path: str, body: Body, headers: Mapping[str, str]
    ) -> requests.Response:
        refused: Mapping[str, str] | None = None
        while True:
            login = self._credential.header(refused=refused)
            sent = {"Accept": "application/fhir+json", **login, **headers}
            if isinstance(body, bytes):  # a mapping goes out as a form, by requests
                sent.setdefault("Content-Type", "application/fhir+json")
            self.requests_made = next(self._count) + 1
            answer = self._session.request(
                method,
                self._fhir + path,
                data=body,
                headers=sent,
                timeout=self._timeout,
                allow_redirects=False,
            )
            self._pacer.heard(answer.headers.get("RateLimit"))
            once_more = refused is None and self._credential.renewable
            if answer.status_code != HTTPStatus.UNAUTHORIZED or not once_more:
                return answer
            refused = login

    def refusal(self, answer: requests.Response, what: str) -> Exception:
        """The error for an answer that is not the expected one; the caller raises it."""
        status = answer.status_code
        try:
            outcome = failure(str(status), answer.json())
        except (ValueError, AttributeError):
            outcome = failure(str(status), {})
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return Throttled(f"{what} was throttled (429).", retry_after=outcome.wait)
        if status in _SERVER_FAULTS:
            return Ambiguous(f"{what} was answered {status}: the server failed on it.")
        if status == HTTPStatus.CONFLICT:
            return Transient(f"{what} met a conflict (409).")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return Permanent(
                f"{what} was refused ({status}). Check that the ClientApplication of "
                "MEDPLUM_CLIENT_ID is active, its secret is MEDPLUM_CLIENT_SECRET and its "
                "AccessPolicy permits it."
            )
        if answer.is_redirect:
            return Permanent(
                f"{what} was answered with a redirect ({status}), which is never followed. "
                "Set MEDPLUM_BASE_URL to the server's own address."
            )
        kind = Unacceptable if status in _FOR_CONTENT else Permanent
        return kind(
            f"{what} was refused: {status} {outcome.code or 'without an issue code'}. "
            "Is MEDPLUM_BASE_URL the address of a Medplum server?"
        )
