"""Asking until there is an answer: the attempts of one request, and what each of them came to.

Belongs here: one try, what its status and body mean, whether there is another. Does not belong
here: sockets (``session``), where a request may go and with what (``transport``), how long to wait
(``waits``). No message holds a body, a query or a credential, and no error is chained to one that
might: what the libraries raise ends here as a value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests
import urllib3

from migration_assets.legacy.auth import Credential
from migration_assets.legacy.body import Parsed, parse, read_body
from migration_assets.legacy.budgets import Budget
from migration_assets.legacy.description import Http
from migration_assets.legacy.failures import (
    NOT_DECODED,
    TOO_SLOW,
    BodyRefusedError,
    Disbelief,
    Failure,
    not_believed,
    of_connection,
    of_status,
)
from migration_assets.legacy.placement import Parameters
from migration_assets.legacy.plugins import DecoderPlugin
from migration_assets.legacy.session import Session
from migration_assets.legacy.waits import asked_wait, wait_before

Belief: TypeAlias = Callable[[Any], Disbelief | None]
Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

_OK, _BAD_REQUEST = 200, 400
_TAKEN_NOTE_OF = range(200, 300)


@dataclass(frozen=True)
class Answer:
    """A believed answer. ``skipped``: its ``status`` was declared to mean a page without rows."""

    body: Any
    headers: Mapping[str, str]
    flawed: bool = False
    skipped: bool = False
    status: int = 200


@dataclass(frozen=True)
class Call:
    """What is asked, and how it may be called in a message.

    ``headers`` hold secrets. ``variables`` are what a person checks if the call is refused.
    ``telling``: no rows are expected, any 2xx will do. ``heard``: what comes with it is read, if it
    is JSON.
    """

    method: Method
    url: str
    where: str
    believe: Belief = field(default=lambda _: None, repr=False)
    params: Parameters = field(default=(), repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    json: Any = field(default=None, repr=False)
    gone: frozenset[int] = frozenset()
    credential: Credential | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Sequence[str] = ()
    telling: bool = False
    heard: bool = False


@dataclass(frozen=True)
class _Received:
    """What came back: the body only if the status makes it worth reading."""

    status: int
    headers: Mapping[str, str]
    body: bytearray | None = field(default=None, repr=False)


class Attempts:
    """Makes calls on one session, one after another, within one budget."""

    def __init__(
        self,
        http: Http,
        session: Session,
        budget: Budget,
        *,
        decode: DecoderPlugin | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.requests_made = 0
        self._http, self._session, self._budget, self._decode = http, session, budget, decode
        self._clock, self._sleep = clock, sleep

    def answer(self, call: Call) -> Answer:
        """The answer that is believed.

        Raises:
            Transient: the source is down or busy and stayed so for all attempts.
            Permanent: it refuses us, or what it answers is not what the description says.
        """
        attempt, renewed = 1, False
        while True:
            sent = call.credential.headers() if call.credential else {}
            self._budget.take()
            outcome = self._judged(call, self._once(call, sent))
            if isinstance(outcome, Answer):
                return outcome
            if outcome.unauthorised and call.credential and not renewed:
                renewed = True
                if call.credential.renew(sent):
                    continue
            wait = wait_before(attempt, outcome.asked, self._http)
            allowed = min(self._http.attempts, outcome.tries or self._http.attempts)
            if not outcome.again or attempt >= allowed or wait > self._http.max_wait:
                raise outcome.error(call.where, attempt, call.variables)
            self._sleep(wait)
            attempt += 1

    def tried(self, call: Call) -> Answer | Failure:
        """What one try came to; only a credential that is not accepted any more is renewed."""
        for renewed in (False, True):
            sent = call.credential.headers() if call.credential else {}
            self._budget.take()
            outcome = self._judged(call, self._once(call, sent))
            if isinstance(outcome, Answer) or not outcome.unauthorised or renewed:
                break
            if call.credential is None or not call.credential.renew(sent):
                break
        return outcome

    def _once(self, call: Call, credential: Mapping[str, str]) -> _Received | Failure:
        """One try. What the libraries raise ends here as a value: their errors quote whole URLs."""
        self.requests_made += 1
        self._session.deadline.start(self._http.deadline)
        extra = call.credential.params() if call.credential else {}
        try:
            with self._session.request(
                call.method,
                _without(call.url, extra),
                params=[*call.params, *extra.items()],
                data=call.form,
                json=call.json,
                headers={**call.headers, **credential},
                timeout=(
                    self._http.timeout_connect,
                    min(self._http.timeout_read, self._http.deadline),
                ),
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._received(call, response)
        except BodyRefusedError as refused:
            return refused.failure
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            return TOO_SLOW if self._session.deadline.left <= 0 else of_connection(error)
        except (requests.RequestException, OSError, UnicodeError) as error:
            return Failure(
                f"the request could not be made ({type(error).__name__})",
                advice="is every address, header and credential plain text?",
            )

    def _received(self, call: Call, response: requests.Response) -> _Received:
        status, headers = response.status_code, response.headers
        heard = call.heard and status in _TAKEN_NOTE_OF
        if not heard and (call.telling or status != _OK or self._action(call, status) is not None):
            return _Received(status, headers)
        body = read_body(
            response.raw,
            headers.get("Content-Encoding", ""),
            max_bytes=self._http.max_bytes,
            deadline=self._session.deadline,
        )
        return _Received(status, headers, body)

    def _action(self, call: Call, status: int) -> str | None:
        if call.form is not None:  # RFC 6749 §5.2: a wrong secret may be a 400
            return "reauth" if status == _BAD_REQUEST else None
        return "skip" if status in call.gone else self._http.action_for(status)

    def _judged(self, call: Call, received: _Received | Failure) -> Answer | Failure:
        if isinstance(received, Failure):
            return received
        if received.body is None:
            action = self._action(call, received.status)
            told = call.telling and action is None and received.status in _TAKEN_NOTE_OF
            if action == "skip" or told:
                return Answer(None, received.headers, skipped=True, status=received.status)
            asked = asked_wait(received.headers, self._http, self._clock())
            redirect = "Location" in received.headers
            return of_status(received.status, action, asked, redirect=redirect)
        return self._read(call, received.body, received)

    def _read(self, call: Call, body: bytearray, received: _Received) -> Answer | Failure:
        try:
            parsed = self._parse(call, body)
        except BodyRefusedError as refused:
            unread = Answer(None, received.headers, status=received.status)
            return unread if call.heard else refused.failure
        doubt = call.believe(parsed.value)
        if doubt is not None:
            return not_believed(doubt)
        return Answer(parsed.value, received.headers, flawed=parsed.flawed, status=received.status)

    def _parse(self, call: Call, body: bytearray) -> Parsed:
        if self._decode is None or call.form is not None:
            return parse(body)
        try:
            return Parsed(self._decode(bytes(body)))
        except ValueError:  # its message may quote the body
            pass
        raise BodyRefusedError(NOT_DECODED)


def _without(url: str, names: Mapping[str, str]) -> str:
    """The URL without parameters of these names: links may echo a key that we add ourselves."""
    parts = urlsplit(url)
    if not names or not parts.query:
        return url
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    return urlunsplit(parts._replace(query=urlencode(kept)))
