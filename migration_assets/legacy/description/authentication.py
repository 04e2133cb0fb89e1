"""The ways a source may ask who we are.

Belongs here: what a description may say. Does not belong here: reading secrets or asking for
tokens (``legacy.auth``).
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue

from migration_assets.legacy.description.shape import (
    Described,
    EnvironmentReference,
    ParameterName,
    Secret,
    TextOrReference,
)


class NoAuth(Described):
    """The source asks nothing."""

    type: Literal["none"] = "none"


class BearerAuth(Described):
    """A token that does not expire, sent as ``Authorization: Bearer``."""

    type: Literal["bearer"]
    token: Secret


class BasicAuth(Described):
    """User and password; some APIs take a key as the user and no password (Cliniko)."""

    type: Literal["basic"]
    user: Secret
    password: Secret | None = None


class HeaderAuth(Described):
    """A key in a header of its own."""

    type: Literal["header"]
    name: ParameterName
    value: Secret


class QueryAuth(Described):
    """A key in the query string (Nookal): it is in the URL, so URLs are shown nowhere."""

    type: Literal["query"]
    param: ParameterName
    value: Secret


class OAuth2ClientCredentials(Described):
    """OAuth2 client credentials: fetched on first use, renewed early and once on 401.

    ``token_url`` may be relative to the source's ``base_url``. ``early_seconds`` before its
    expiry a token is no longer used.
    """

    type: Literal["oauth2_client_credentials"]
    token_url: TextOrReference
    client_id: Secret
    client_secret: Secret
    scope: str | None = None
    early_seconds: Annotated[float, Field(ge=0)] = 60


class PluginAuth(Described):
    """A credential made in Python (``legacy.plugins``) from these secrets and options."""

    type: Literal["plugin"]
    name: Annotated[str, Field(min_length=1)]
    secrets: Mapping[str, Secret] = {}
    options: Mapping[str, JsonValue] = {}


AuthDescription: TypeAlias = Annotated[
    NoAuth | BearerAuth | BasicAuth | HeaderAuth | QueryAuth | OAuth2ClientCredentials | PluginAuth,
    Field(discriminator="type"),
]


def secrets_of(auth: AuthDescription) -> tuple[EnvironmentReference, ...]:
    """The references an authentication needs, in the order they are written."""
    if isinstance(auth, PluginAuth):
        return tuple(auth.secrets.values())
    values = (getattr(auth, name) for name in type(auth).model_fields)
    return tuple(value for value in values if isinstance(value, EnvironmentReference))
