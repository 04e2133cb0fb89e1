"""One Medplum project as delivering sees it: bundles, searches, a preflight.

Belongs here: which request answers which question. Does not belong here: how requests travel
(``wire``), what to send, or what an entry's outcome leads to.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal, Protocol

import orjson
from pydantic import SecretStr

from migration_assets.errors import Transient
from migration_assets.fhir.identifiers import search_token
from migration_assets.mapping import Bot
from migration_assets.medplum.auth import BasicCredential, ClientCredentials, Credential
from migration_assets.medplum.bots import Bots
from migration_assets.medplum.deploying import Deployed, Deployments
from migration_assets.medplum.jobs import Jobs
from migration_assets.medplum.quota import SEARCH_POINTS, Pacer
from migration_assets.medplum.wire import TIMEOUT, Ambiguous, Body, Wire

SEARCH_COUNT = 1000  # contract §11: the most identifiers, and the most matches, of one search
_SEARCH_AGAIN = (0.2, 0.5, 1.0, 2.0)  # seconds before each further try

Auth = Literal["client_credentials", "basic"]
"""How the client shows who it is: by a token it fetches, or by its secret with every request."""


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
        timeout: tuple[float, float] = TIMEOUT,
        auth: Auth = "client_credentials",
        pacer: Pacer | None = None,
    ) -> None:
        """``pacer`` may be shared with other clients of the same ``client_id``."""
        credential: Credential = (
            BasicCredential(client_id, client_secret)
            if auth == "basic"
            else ClientCredentials(base_url, client_id, client_secret, timeout=timeout, clock=clock)
        )
        self.pacer = pacer or Pacer(clock=clock, sleep=sleep)
        self._wire = Wire(base_url, credential, self.pacer, timeout=timeout)
        self._jobs = Jobs(self._wire, sleep=sleep)
        self._bots = Bots(self._wire, self.pacer)
        self._sleep = sleep
        self._transactions: bool | None = None

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._wire.close()

    @property
    def requests_made(self) -> int:
        """Requests so far, those for tokens not counted."""
        return self._wire.requests_made

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """Execute a batch of ``entries`` entries.

        Raises:
            Ambiguous: no answer, half an answer, or fewer entries than were asked for.
            Transient: refused for now; nothing was carried out.
            Unacceptable: refused for what it holds.
            Permanent: refused for good.
        """
        return _whole(self._send("POST", "", body, what="Sending a bundle"), entries)

    def run_job(
        self, body: bytes, entries: int, *, keep_waiting: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        """Execute a batch of ``entries`` entries in Medplum's own time; raises as ``Jobs.run``."""
        return _whole(self._jobs.run(body, keep_waiting=keep_waiting), entries)

    def execute_bot(self, bot_id: str, body: bytes) -> Any:
        """What a Bot said of a row; raises as ``Bots.execute``."""
        return self._bots.execute(bot_id, body)

    def deploy_bot(self, bot: Bot, name: str, code: str, runtime: str) -> Deployed:
        """A Bot with this code; raises as ``Deployments.deploy``."""
        return Deployments(self._wire, self.pacer).deploy(self, bot, name, code, runtime)

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """The resources found by ``POST Type/_search`` (ids do not fit a URL; contract §11).

        A search changes nothing: one that fails for now is tried again a few times.
        """
        form = {"_count": str(SEARCH_COUNT), **params}
        for pause in (*_SEARCH_AGAIN, None):
            grant = self.pacer.reserve(SEARCH_POINTS)
            try:
                with grant:
                    answer = self._send(
                        "POST", f"/{resource_type}/_search", form, what=f"Searching {resource_type}"
                    )
            except Transient as error:
                if pause is None:
                    raise
                self._sleep(error.retry_after or pause)
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
            answer = self._wire.answer("POST", "", orjson.dumps(bundle), what=what)
            if answer.status_code not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
                raise self._wire.refusal(answer, what)
            self._transactions = answer.status_code == HTTPStatus.NOT_FOUND
        return self._transactions

    def _send(self, method: str, path: str, body: Body, *, what: str) -> dict[str, Any]:
        answer = self._wire.answer(method, path, body, what=what)
        if answer.status_code != HTTPStatus.OK:
            raise self._wire.refusal(answer, what)
        try:
            parsed = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            raise Ambiguous(f"{what} was answered with something that is not JSON.") from None
        return parsed if isinstance(parsed, dict) else {}


def _whole(answer: Any, entries: int) -> list[dict[str, Any]]:
    """The entries of a batch-response, if there are as many as were sent."""
    responded = answer.get("entry") if isinstance(answer, dict) else None
    whole = isinstance(responded, list) and all(isinstance(each, dict) for each in responded)
    if not isinstance(responded, list) or not whole or len(responded) != entries:
        raise Ambiguous(
            f"Sending a bundle of {entries} entries was answered with "
            f"{len(responded) if isinstance(responded, list) else 'no'} entries."
        )
    return responded


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
