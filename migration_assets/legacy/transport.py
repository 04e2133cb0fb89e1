"""Requests to one source, guarded: where they may go, and what may go with them.

Belongs here: origins, credentials, the seam the rest of the room asks through. Does not belong
here: the tries of one request (``attempts``), which page to ask for (``pagers``) or what is in it
(``rows``).

The guards, each with a test against a hostile server: no redirect is followed; a credential goes
to the declared origins only; a body has a size and a deadline; one cut off is fetched again; the
environment's proxies and netrc are ignored; cookies are not kept; TLS is verified. No message holds
a body, a query or a credential, and no error is chained to one that might.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from migration_assets.errors import Permanent
from migration_assets.legacy.attempts import Answer, Attempts, Belief, Call, Method
from migration_assets.legacy.auth import credential_for, token_url_for
from migration_assets.legacy.budgets import Budget, RequestHistory
from migration_assets.legacy.description import Source
from migration_assets.legacy.description.authentication import OAuth2ClientCredentials
from migration_assets.legacy.environment import text_of, values_for
from migration_assets.legacy.failures import Failure
from migration_assets.legacy.origins import (
    Origin,
    base_url_problem,
    origin_of,
    origin_text,
    place,
)
from migration_assets.legacy.placement import Parameters
from migration_assets.legacy.plugins import decoder_named
from migration_assets.legacy.session import session_for

__all__ = ["Answer", "Belief", "Fetcher", "Method", "Transport"]


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
        history: RequestHistory | None = None,
    ) -> None:
        values = values_for(source, environ)
        self.base_url = text_of(source.base_url, values)
        self._http = source.http
        self._origin = _checked_origin(source, "base_url", self.base_url)
        if isinstance(source.auth, OAuth2ClientCredentials):
            _checked_origin(source, "token_url", token_url_for(source.auth, self.base_url, values))
        shared = source.budget or source.name
        proxy = None if source.http.proxy is None else text_of(source.http.proxy, values)
        self._session = session_for(source, monotonic, proxy=proxy)
        self._attempts = Attempts(
            source.http,
            self._session,
            Budget(source.limits, shared, history, clock=clock, sleep=sleep),
            decode=decoder_named(source.http.decoder) if source.http.decoder else None,
            clock=clock,
            sleep=sleep,
        )
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

    @property
    def requests_made(self) -> int:
        """Requests so far, retries and tokens included."""
        return self._attempts.requests_made

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
        return self._attempts.answer(
            Call(
                "GET" if body is None else "POST",
                url,
                where,
                believe,
                params,
                json=body,
                gone=gone,
                credential=self._credential if declared else None,
                headers=self._secret_headers if declared else {},
                variables=self._variables,
            )
        )

    def tell(
        self, method: Method, url: str, body: Any, *, where: str, gone: frozenset[int] = frozenset()
    ) -> None:
        """Tell the source something; any 2xx will do, and so will one of ``gone``.

        It is told again if the answer is lost: only what may be said twice should be told.
        """
        declared = self._is_declared(url, where)
        self._attempts.answer(
            Call(
                method,
                url,
                where,
                json=body,
                gone=gone,
                telling=True,
                credential=self._credential if declared else None,
                headers=self._secret_headers if declared else {},
                variables=self._variables,
            )
        )

    def write(
        self, method: Method, url: str, body: Any, *, where: str, headers: Mapping[str, str]
    ) -> Answer | Failure:
        """Write something, once: what came of it, or how it failed.

        It is never sent again by itself: what got no answer may have been carried out.
        """
        declared = self._is_declared(url, where)
        return self._attempts.tried(
            Call(
                method,
                url,
                where,
                json=body,
                telling=True,
                heard=True,
                credential=self._credential if declared else None,
                headers={**(self._secret_headers if declared else {}), **headers},
                variables=self._variables,
            )
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """What a person checks if the source does not accept us."""
        return self._variables

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._session.close()

    def _post_form(self, url: str, form: Mapping[str, str]) -> Any:
        where = f"fetching a token from {place(url)}"
        call = Call("POST", url, where, form=form, variables=self._variables)
        return self._attempts.answer(call).body

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


def _checked_origin(source: Source, name: str, url: str) -> Origin:
    problem = base_url_problem(url, allow_plain_http=source.http.allow_plain_http)
    origin = origin_of(url)
    if problem or origin is None:
        raise Permanent(f"source {source.name}: {name} {problem}")
    return origin
