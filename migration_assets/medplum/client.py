"""HTTP to one Medplum project: bundles, searches, and what went wrong with either.

Belongs here: requests, time-outs, tokens, the quota header. Does not belong here: what to send
or what an entry's outcome leads to. Redirects are never followed and environment proxies are
ignored: the credential and the records leave for the declared server only.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import orjson
import requests
from pydantic import SecretStr

from migration_assets.errors import Permanent, Transient
from migration_assets.fhir.identifiers import search_token
from migration_assets.medplum.auth import ClientCredentials
from migration_assets.medplum.outcomes import failure
from migration_assets.medplum.quota import SEARCH_POINTS, Pacer

SEARCH_COUNT = 1000  # contract §11: the most identifiers, and the most matches, of one search
_TIMEOUT = (10.0, 120.0)  # Medplum's own statement timeout is 60 s, twice that with its retry
_SEARCH_AGAIN = (0.2, 0.5, 1.0, 2.0)  # seconds before each further try
_FOR_CONTENT = frozenset({400, 413, 414, 422})
_SERVER_FAULTS = frozenset({408, 425, 500, 502, 503, 504})


class Ambiguous(Transient):
    """The request may have been carried out although no whole answer came (contract §3)."""


class Unacceptable(Permanent):
    """The request was refused for what it holds, by the server or by a firewall before it.

    Nothing of it was carried out. One entry may be the cause: the others can go without it.
    """


class Fhir(Protocol):
    """What delivering needs of a FHIR server; ``MedplumClient`` is one, a null target another."""

    pacer: Pacer

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """Execute a batch; the response's entries, as many as were sent."""

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """The resources a search finds, at most ``SEARCH_COUNT``."""

    def transactions_available(self) -> bool:
        """Whether the project has the feature transaction-bundles."""


class MedplumClient:
    """One ClientApplication's view of one Medplum project."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        timeout: tuple[float, float] = _TIMEOUT,
    ) -> None:
        self._fhir = f"{base_url}fhir/R4"
        self._session = requests.Session()
        self._session.trust_env = False
        self._timeout = timeout
        self._auth = ClientCredentials(
            self._session, base_url, client_id, client_secret, timeout=timeout, clock=clock
        )
        self._sleep = sleep
        self.pacer = Pacer(clock=clock, sleep=sleep)
        self.requests_made = 0
        self._transactions: bool | None = None

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """Execute a batch of ``entries`` entries.

        Raises:
            Ambiguous: no answer, half an answer, or fewer entries than were asked for.
            Transient: refused for now; nothing was carried out.
            Unacceptable: refused for what it holds.
            Permanent: refused for good.
        """
        answer = self._send("POST", "", body, what="Sending a bundle")
        responded = answer.get("entry")
        whole = isinstance(responded, list) and all(isinstance(e, dict) for e in responded)
        if not isinstance(responded, list) or not whole or len(responded) != entries:
            raise Ambiguous(
                f"Sending a bundle of {entries} entries was answered with "
                f"{len(responded) if isinstance(responded, list) else 'no'} entries."
            )
        return responded

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """The resources found by ``POST Type/_search`` (ids do not fit a URL; contract §11).

        A search changes nothing: one that fails for now is tried again a few times.
        """
        form = {"_count": str(SEARCH_COUNT), **params}
        for pause in (*_SEARCH_AGAIN, None):
            self.pacer.wait_for(SEARCH_POINTS)
            try:
                answer = self._send(
                    "POST", f"/{resource_type}/_search", form, what=f"Searching {resource_type}"
                )
            except Transient:
                if pause is None:
                    raise
                self._sleep(pause)
            else:
                break
        return [each["resource"] for each in answer.get("entry") or () if "resource" in each]

    def count(self, resource_type: str) -> int:
        """How many resources of a type the project holds."""
        answer = self._send(
            "GET", f"/{resource_type}?_summary=count", None, what=f"Counting {resource_type}"
        )
        return int(answer.get("total") or 0)

    def transactions_available(self) -> bool:
        """Ask once, by contract §0's preflight, which writes nothing.

        The CapabilityStatement claims transactions either way, and without the feature a
        transaction is silently run as a batch: only a failing read inside one tells.
        """
        if self._transactions is None:
            absent = f"Patient/{uuid.UUID(int=0)}"
            entries = [
                {"request": {"method": "GET", "url": url}} for url in ("Patient?_count=1", absent)
            ]
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            what = "Asking whether transactions are atomic"
            answer = self._answer("POST", "", orjson.dumps(bundle), what=what)
            if answer.status_code not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
                raise self._refusal(answer, what)
            self._transactions = answer.status_code == HTTPStatus.NOT_FOUND
        return self._transactions

    def _send(
        self, method: str, path: str, body: bytes | Mapping[str, str] | None, *, what: str
    ) -> dict[str, Any]:
        answer = self._answer(method, path, body, what=what)
        if answer.status_code != HTTPStatus.OK:
            raise self._refusal(answer, what)
        try:
            parsed = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            raise Ambiguous(f"{what} was answered with something that is not JSON.") from None
        return parsed if isinstance(parsed, dict) else {}

    def _answer(
        self, method: str, path: str, body: bytes | Mapping[str, str] | None, *, what: str
    ) -> requests.Response:
        """Whatever came back, if anything did."""
        try:
            return self._request(method, path, body)
        except requests.ConnectTimeout as error:
            raise Transient(f"{what} failed: no connection ({type(error).__name__}).") from None
        except requests.RequestException as error:
            raise Ambiguous(
                f"{what} ended without a whole answer ({type(error).__name__}). "
                "Is the Medplum server up?"
            ) from None

    def _request(
        self, method: str, path: str, body: bytes | Mapping[str, str] | None
    ) -> requests.Response:
        for fresh in (False, True):
            headers = {"Accept": "application/fhir+json", **self._auth.header(fresh=fresh)}
            if isinstance(body, bytes):  # a mapping goes out as a form, by requests
                headers["Content-Type"] = "application/fhir+json"
            self.requests_made += 1
            answer = self._session.request(
                method,
                self._fhir + path,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            )
            self.pacer.heard(answer.headers.get("RateLimit"))
            if answer.status_code != HTTPStatus.UNAUTHORIZED:
                break
        return answer

    def _refusal(self, answer: requests.Response, what: str) -> Exception:
        """The error for an answer that is not 200; built here, raised by the caller."""
        status = answer.status_code
        try:
            outcome = failure(str(status), answer.json())
        except (ValueError, AttributeError):
            outcome = failure(str(status), {})
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return Transient(f"{what} was throttled (429).", retry_after=outcome.wait)
        if status in _SERVER_FAULTS:
            return Ambiguous(f"{what} was answered {status}: the server failed on it.")
        if status == HTTPStatus.CONFLICT:
            return Transient(f"{what} met a conflict (409).")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return Permanent(
                f"{what} was refused ({status}). Check that the ClientApplication of "
                "MEDPLUM_CLIENT_ID is active and its AccessPolicy permits it."
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


def find_by_identifier(
    fhir: Fhir, resource_type: str, identifiers: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Which resources of a type carry each (system, value): 20 points per 1,000 (contract §11).

    A search of n identifiers whose answer is full may hide matches (duplicates); it is halved
    until its answer is not.
    """
    wanted = list(dict.fromkeys(identifiers))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {each: [] for each in wanted}
    # Fewer than the most it may find, so that a few duplicates still fit in one answer.
    step = SEARCH_COUNT - 100
    todo = [wanted[start : start + step] for start in range(0, len(wanted), step)]
    while todo:
        part = todo.pop()
        tokens = ",".join(search_token(*each) for each in part)
        resources = fhir.search(resource_type, {"identifier": tokens})
        if len(resources) >= SEARCH_COUNT and len(part) > 1:
            half = len(part) // 2
            todo += [part[:half], part[half:]]
            continue
        for resource in resources:
            for identifier in resource.get("identifier") or ():
                key = (str(identifier.get("system")), str(identifier.get("value", "")).strip())
                if key in found and resource not in found[key]:
                    found[key].append(resource)
    return found
