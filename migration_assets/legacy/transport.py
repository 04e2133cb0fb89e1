"""One request to a source, guarded: what goes out, what may come back, when to try again.

Belongs here: the session, the attempts and what a status means. Does not belong here: which page
to ask for (``pagers``) or what is in it (``rows``).

The guards, each with a test against a hostile server: no redirect is followed; a credential goes
to the declared origins only; a body has a size and a deadline; one cut off is fetched again; the
environment's proxies and netrc are ignored; cookies are not kept; TLS is verified. No message holds
a body, a query or a credential, and no error is chained to one that might.
"""

import http.cookiejar
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests
import urllib3

from migration_assets.errors import Permanent
from migration_assets.legacy.auth import Credential, credential_for, token_url_for
from migration_assets.legacy.body import Parsed, parse, read_body
from migration_assets.legacy.budgets import Budget
from migration_assets.legacy.description import Source
from migration_assets.legacy.description.authentication import OAuth2ClientCredentials
from migration_assets.legacy.environment import text_of, values_for
from migration_assets.legacy.failures import (
    NOT_DECODED,
    BodyRefusedError,
    Disbelief,
    Failure,
    not_believed,
    of_connection,
    of_status,
)
from migration_assets.legacy.origins import (
    Origin,
    base_url_problem,
    origin_of,
    origin_text,
    place,
)
from migration_assets.legacy.placement import Parameters
from migration_assets.legacy.plugins import decoder_named
from migration_assets.legacy.waits import asked_wait, wait_before

Belief: TypeAlias = Callable[[Any], Disbelief | None]

_OK, _BAD_REQUEST = 200, 400


@dataclass(frozen=True)
class Answer:
    """A believed answer. ``skipped``: its status was declared to mean a page without rows."""

    body: Any
    headers: Mapping[str, str]
    flawed: bool = False
    skipped: bool = False


class Fetcher(Protocol):
    """What the Puller needs of a transport: the seam for a recorded or imagined source."""

    @property
    def base_url(self) -> str:
        """The source's address."""

    @property
    def requests_made(self) -> int:
        """Requests so far."""

    def fetch(
        self,
        url: str,
        params: Parameters,
        *,
        where: str,
        believe: Belief = ...,
        body: Any = None,
        gone: frozenset[int] = ...,
    ) -> Answer:
        """GET a page, or POST for it with a JSON ``body``; ``gone`` are statuses to skip.

        ``where`` is how it is called in messages, ``believe`` doubts a 200.
        """

    def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True)
class _Call:
    """What is asked, and how it may be called in a message."""

    method: Literal["GET", "POST"]
    url: str
    where: str
    believe: Belief = field(default=lambda _: None, repr=False)
    params: Parameters = field(default=(), repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    json: Any = field(default=None, repr=False)
    gone: frozenset[int] = frozenset()
    credential: Credential | None = field(default=None, repr=False)
    declared: bool = True  # False: an allowed host, which gets no header that holds a secret


@dataclass(frozen=True)
class _Received:
    """What came back: the body only if the status makes it worth reading."""

    status: int
    headers: Mapping[str, str]
    body: bytearray | None = field(default=None, repr=False)


class Transport:
    """Requests to one source, one after another.

    Raises, from every request:
        Transient: the source is down or busy and stayed so for all attempts.
        Permanent: it refuses us, or what it answers is not what the description says.
    """

    def __init__(
        self,
        source: Source,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        values = values_for(source, environ)
        self.base_url = text_of(source.base_url, values)
        self.requests_made = 0
        self._source, self._http = source, source.http
        self._clock, self._sleep, self._monotonic = clock, sleep, monotonic
        self._origin = _checked_origin(source, "base_url", self.base_url)
        if isinstance(source.auth, OAuth2ClientCredentials):
            _checked_origin(source, "token_url", token_url_for(source.auth, self.base_url, values))
        self._budget = Budget(source.limits, clock=clock, sleep=sleep)
        self._session = _session(source)
        self._decode = decoder_named(source.http.decoder) if source.http.decoder else None
        secret = {n: v for n, v in source.headers.items() if not isinstance(v, str)}
        self._secret_headers = {name: text_of(value, values) for name, value in secret.items()}
        self._credential = credential_for(
            source.auth,
            base_url=self.base_url,
            values=values,
            post_form=self._post_form,
            clock=clock,
        )
        self._variables = (*self._credential.variables, *(one.env for one in secret.values()))

    def fetch(
        self,
        url: str,
        params: Parameters,
        *,
        where: str,
        believe: Belief = lambda _: None,
        body: Any = None,
        gone: frozenset[int] = frozenset(),
    ) -> Answer:
        """GET a page, or POST for it with a JSON ``body``; ``gone`` are statuses to skip.

        ``where`` is how it is called in messages, ``believe`` doubts a 200. A POST is repeated as
        a GET is: it asks for rows and changes nothing.
        """
        declared = self._is_declared(url, where)
        credential = self._credential if declared else None
        return self._attempts(
            _Call(
                "GET" if body is None else "POST",
                url,
                where,
                believe,
                params,
                json=body,
                gone=gone,
                credential=credential,
                declared=declared,
            )
        )

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._session.close()

    def _post_form(self, url: str, form: Mapping[str, str]) -> Any:
        where = f"fetching a token from {place(url)}"
        return self._attempts(_Call("POST", url, where, form=form, declared=False)).body

    def _is_declared(self, url: str, where: str) -> bool:
        """True if our credential may go there; refuses what the description does not name."""
        origin = origin_of(url)
        if origin == self._origin:
            return True
        for allowed in self._http.allow_hosts:
            if origin is not None and origin == origin_of(allowed.origin):
                return allowed.send_credential
        target = origin_text(origin) if origin else "an address that is not http"
        raise Permanent(
            f"{where}: a link leads to {target}, which is not the declared host: not followed; "
            "if it is trusted, name it in http.allow_hosts"
        )

    def _attempts(self, call: _Call) -> Answer:
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
                raise outcome.error(call.where, attempt, self._variables)
            self._sleep(wait)
            attempt += 1

    def _once(self, call: _Call, credential: Mapping[str, str]) -> _Received | Failure:
        """One try. What the libraries raise ends here as a value: their errors quote whole URLs."""
        self.requests_made += 1
        expires = self._monotonic() + self._http.deadline
        extra = call.credential.params() if call.credential else {}
        secret = self._secret_headers if call.declared else {}
        try:
            with self._session.request(
                call.method,
                _without(call.url, extra),
                params=[*call.params, *extra.items()],
                data=call.form,
                json=call.json,
                headers={**secret, **credential},
                timeout=(
                    self._http.timeout_connect,
                    min(self._http.timeout_read, self._http.deadline),
                ),
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._received(call, response, expires)
        except BodyRefusedError as refused:
            return refused.failure
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            return of_connection(error)
        except (requests.RequestException, OSError, UnicodeError) as error:
            return Failure(
                f"the request could not be made ({type(error).__name__})",
                advice="is every address, header and credential plain text?",
            )

    def _received(self, call: _Call, response: requests.Response, expires: float) -> _Received:
        status, headers = response.status_code, response.headers
        if status != _OK or self._action(call, status) is not None:
            return _Received(status, headers)
        body = read_body(
            response.raw,
            headers.get("Content-Encoding", ""),
            max_bytes=self._http.max_bytes,
            expires=expires,
            monotonic=self._monotonic,
        )
        return _Received(status, headers, body)

    def _action(self, call: _Call, status: int) -> str | None:
        if call.form is not None:  # RFC 6749 §5.2: a wrong secret may be a 400
            return "reauth" if status == _BAD_REQUEST else None
        return "skip" if status in call.gone else self._http.action_for(status)

    def _judged(self, call: _Call, received: _Received | Failure) -> Answer | Failure:
        if isinstance(received, Failure):
            return received
        if received.body is None:
            action = self._action(call, received.status)
            if action == "skip":
                return Answer(None, received.headers, skipped=True)
            asked = asked_wait(received.headers, self._http, self._clock())
            redirect = "Location" in received.headers
            return of_status(received.status, action, asked, redirect=redirect)
        try:
            parsed = self._parse(call, received.body)
        except BodyRefusedError as refused:
            return refused.failure
        doubt = call.believe(parsed.value)
        if doubt is not None:
            return not_believed(doubt)
        return Answer(parsed.value, received.headers, flawed=parsed.flawed)

    def _parse(self, call: _Call, body: bytearray) -> Parsed:
        if self._decode is None or call.form is not None:
            return parse(body)
        try:
            return Parsed(self._decode(bytes(body)))
        except ValueError:  # its message may quote the body
            pass
        raise BodyRefusedError(NOT_DECODED)


def _checked_origin(source: Source, name: str, url: str) -> Origin:
    problem = base_url_problem(url, allow_plain_http=source.http.allow_plain_http)
    origin = origin_of(url)
    if problem or origin is None:
        raise Permanent(f"source {source.name}: {name} {problem}")
    return origin


def _session(source: Source) -> requests.Session:
    verify = source.http.verify
    if isinstance(verify, str) and not Path(verify).exists():
        raise Permanent(f"source {source.name}: http.verify names {verify}, which is not there")
    session = requests.Session()
    session.trust_env = False
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


def _without(url: str, names: Mapping[str, str]) -> str:
    """The URL without parameters of these names: links may echo a key that we add ourselves."""
    parts = urlsplit(url)
    if not names or not parts.query:
        return url
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    return urlunsplit(parts._replace(query=urlencode(kept)))
