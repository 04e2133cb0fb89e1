"""How requests are made: patience, limits, what a status means, where links may lead.

Belongs here: what a description may say. Does not belong here: making requests
(``legacy.transport``) or pacing them (``legacy.budgets``).
"""

import datetime as dt
from typing import Annotated, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from migration_assets.legacy.description.shape import (
    Described,
    EnvironmentReference,
    TextOrReference,
)

_YEAR = 366 * 86_400  # longer waits are slips; Python cannot sleep for ever

Seconds: TypeAlias = Annotated[float, Field(gt=0, le=_YEAR)]

_SATURDAY = 5


def _never_unverified(value: object) -> object:
    if value is False:
        raise ValueError("TLS is always verified; for a private authority give its file")
    return value


class Limit(Described):
    """At most ``requests`` in any ``per_seconds``.

    ``clock_aligned`` is for quotas that start anew on the clock instead of sliding (DrChrono:
    500 an hour from the full hour on).

    With ``hours`` it holds only from the first to the last full hour of the day in ``tz``, Monday
    to Friday if ``workdays``; with ``elsewhen`` only at all other times. Two such limits are one
    vendor's «1 a minute in office hours, 60 else» (AdvancedMD).
    """

    requests: Annotated[int, Field(ge=1, le=10**9)]
    per_seconds: Seconds
    clock_aligned: bool = False
    hours: tuple[Annotated[int, Field(ge=0, le=24)], Annotated[int, Field(ge=0, le=24)]] | None = (
        None
    )
    tz: str | None = None
    workdays: bool = False
    elsewhen: bool = False

    @model_validator(mode="after")
    def _hours_are_somewhere(self) -> Self:
        if self.hours is None:
            if self.tz is not None or self.workdays or self.elsewhen:
                raise ValueError("tz, workdays and elsewhen need hours")
            return self
        if self.hours[0] >= self.hours[1]:
            raise ValueError("hours should be the first and the last full hour of one day")
        try:
            ZoneInfo(self.tz or "")
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            raise ValueError("hours need tz, an IANA zone such as America/Denver") from None
        return self

    def holds(self, moment: dt.datetime) -> bool:
        """Whether the limit is in force at an instant."""
        if self.hours is None:
            return True
        local = moment.astimezone(ZoneInfo(self.tz or "UTC"))
        inside = self.hours[0] <= local.hour < self.hours[1]
        if self.workdays:
            inside = inside and local.weekday() < _SATURDAY
        return inside is not self.elsewhen


class StatusRule(Described):
    """What a status means here, when it is not what it means everywhere.

    ``skip``: the answer counts as a page without rows. Inside a chain of links it is an error all
    the same, for the rest of the chain would be lost.
    """

    status: tuple[Annotated[int, Field(ge=100, le=599)], ...]
    action: Literal["retry", "fail", "skip", "reauth"]


class AllowedHost(Described):
    """A further origin (scheme://host) that links may lead to; gets no credential unless told."""

    origin: Annotated[str, Field(pattern=r"^https?://[^/?#@]+$")]
    send_credential: bool = False


class Http(Described):
    """Patience and caution with one source. Times are seconds, sizes are bytes.

    ``deadline`` is the total for one answer, ``max_bytes`` counts after decompression,
    ``attempts`` includes the first, ``max_wait`` is the longest wait a server may ask for before
    we give the turn back instead (the error then carries the wait). ``reset_header`` names a
    header with the epoch second at which a quota starts anew. ``decoder`` names a plug-in
    (``legacy.plugins``) that reads bodies which are not JSON. ``proxy`` is the address of the proxy
    that leads to the source; the environment's own (``HTTPS_PROXY``) is taken only if it is named
    here: ``{env: HTTPS_PROXY}``.
    """

    timeout_connect: Seconds = 10
    timeout_read: Seconds = 60
    deadline: Seconds = 300
    max_bytes: Annotated[int, Field(ge=1)] = 64 << 20
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    backoff: Annotated[float, Field(ge=0, le=_YEAR)] = 0.5
    max_backoff: Annotated[float, Field(ge=0, le=_YEAR)] = 120
    max_wait: Seconds = 900
    reset_header: str | None = None
    on_status: tuple[StatusRule, ...] = ()
    allow_hosts: tuple[AllowedHost, ...] = ()
    decoder: str | None = None
    proxy: TextOrReference | None = None
    verify: Annotated[Literal[True] | str, BeforeValidator(_never_unverified)] = True
    allow_plain_http: bool = False

    @field_validator("proxy")
    @classmethod
    def _no_password_in_the_proxy(
        cls, value: str | EnvironmentReference | None
    ) -> str | EnvironmentReference | None:
        if isinstance(value, str) and "@" in value:
            raise ValueError("an address with a password takes {env: NAME_OF_THE_VARIABLE}")
        return value

    def action_for(self, status: int) -> str | None:
        """The first rule's action for a status, or None: then it means what it means everywhere."""
        return next((rule.action for rule in self.on_status if status in rule.status), None)
