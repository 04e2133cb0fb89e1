"""Credentials: what goes along with a request so that the source knows us.

Belongs here: headers and parameters from secrets, and tokens that are renewed. Does not belong
here: where a credential may be sent (``transport`` pins it to the declared origins).
"""

import base64
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import urljoin

from migration_assets.errors import Permanent
from migration_assets.legacy.description.authentication import (
    AuthDescription,
    BasicAuth,
    BearerAuth,
    HeaderAuth,
    NoAuth,
    OAuth2ClientCredentials,
    PluginAuth,
    QueryAuth,
    secrets_of,
)
from migration_assets.legacy.environment import text_of
from migration_assets.legacy.origins import place
from migration_assets.legacy.plugins import auth_named
from migration_assets.legacy.rows import value_at

PostForm: TypeAlias = Callable[[str, Mapping[str, str]], Any]
"""Posts a form without a credential and returns the JSON of the answer."""

_USUAL_LIFETIME = 300.0  # seconds, where a token endpoint does not say


class Credential(Protocol):
    """Who we are to a source. ``variables`` are the names a person must check if it is refused."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables it is made of."""

    def headers(self) -> Mapping[str, str]:
        """Headers for the next request."""

    def params(self) -> Mapping[str, str]:
        """Query parameters for the next request."""

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Get another credential than the headers just refused; False if there is none."""


@dataclass(frozen=True)
class FixedCredential:
    """A credential that cannot be renewed."""

    variables: tuple[str, ...] = ()
    sent_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sent_params: Mapping[str, str] = field(default_factory=dict, repr=False)

    def headers(self) -> Mapping[str, str]:
        """The same every time."""
        return self.sent_headers

    def params(self) -> Mapping[str, str]:
        """The same every time."""
        return self.sent_params

    def renew(self, refused: Mapping[str, str]) -> bool:  # noqa: ARG002  the seam's signature
        """There is no other."""
        return False


class TokenCredential:
    """OAuth2 client credentials (RFC 6749 §4.4): one token, fetched under one lock."""

    def __init__(
        self,
        description: OAuth2ClientCredentials,
        *,
        url: str,
        values: Mapping[str, str],
        post_form: PostForm,
        clock: Callable[[], float],
    ) -> None:
        self._form = {
            "grant_type": "client_credentials",
            "client_id": values[description.client_id.env],
            "client_secret": values[description.client_secret.env],
        }
        if description.scope is not None:
            self._form["scope"] = description.scope
        self._url = url
        self._post_form = post_form
        self._clock = clock
        self._early = description.early_seconds
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires = 0.0
        self.variables = (description.client_id.env, description.client_secret.env)

    def headers(self) -> Mapping[str, str]:
        """The token, fetched first if there is none or it is about to expire."""
        with self._lock:
            if self._token is None or self._clock() >= self._expires:
                self._fetch()
            return {"Authorization": f"Bearer {self._token}"}

    def params(self) -> Mapping[str, str]:
        """A token is never in the query."""
        return {}

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Forget the refused token, unless another thread has replaced it already."""
        with self._lock:
            if refused.get("Authorization") == f"Bearer {self._token}":
                self._token = None
        return True

    def _fetch(self) -> None:
        answer = self._post_form(self._url, self._form)
        token, lifetime = value_at(answer, "access_token"), value_at(answer, "expires_in")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Permanent(
                f"fetching a token from {place(self._url)}: the answer holds no usable "
                "access_token; is token_url right?"
            )
        seconds = _seconds(lifetime)
        # A token that lives shorter than twice the margin is used for half of its life.
        self._expires = self._clock() + max(seconds - self._early, seconds / 2)
        self._token = token


def _seconds(lifetime: Any) -> float:
    if isinstance(lifetime, str) and lifetime.isdecimal():
        return float(lifetime)
    if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and lifetime > 0:
        return float(lifetime)
    return _USUAL_LIFETIME


def token_url_for(auth: OAuth2ClientCredentials, base_url: str, values: Mapping[str, str]) -> str:
    """The token endpoint's address; a relative one is relative to the base URL."""
    url = text_of(auth.token_url, values)
    try:
        return urljoin(base_url.rstrip("/") + "/", url)
    except ValueError:  # no address at all, which the check of its origin says
        return url


def credential_for(
    auth: AuthDescription,
    *,
    base_url: str,
    values: Mapping[str, str],
    post_form: PostForm,
    clock: Callable[[], float],
) -> Credential:
    """The credential a description asks for, made from the environment's values."""
    variables = tuple(reference.env for reference in secrets_of(auth))
    match auth:
        case NoAuth():
            return FixedCredential()
        case BearerAuth():
            sent = {"Authorization": f"Bearer {values[auth.token.env]}"}
        case BasicAuth():
            password = values[auth.password.env] if auth.password else ""
            pair = f"{values[auth.user.env]}:{password}".encode()
            sent = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        case HeaderAuth():
            sent = {auth.name: values[auth.value.env]}
        case QueryAuth():
            return FixedCredential(variables, sent_params={auth.param: values[auth.value.env]})
        case OAuth2ClientCredentials():
            return TokenCredential(
                auth,
                url=token_url_for(auth, base_url, values),
                values=values,
                post_form=post_form,
                clock=clock,
            )
        case PluginAuth():
            secrets = {name: values[one.env] for name, one in auth.secrets.items()}
            made: Credential = auth_named(auth.name)(secrets, auth.options)
            return made
    return FixedCredential(variables, sent_headers=sent)
