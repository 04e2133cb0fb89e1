"""How requests are made: patience, limits, what a status means, where links may lead.

Belongs here: what a description may say. Does not belong here: making requests
(``legacy.transport``) or pacing them (``legacy.budgets``).
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from migration_assets.legacy.description.shape import Described

Seconds: TypeAlias = Annotated[float, Field(gt=0)]


def _never_unverified(value: object) -> object:
    if value is False:
        raise ValueError("TLS is always verified; for a private authority give its file")
    return value


class Limit(Described):
    """At most ``requests`` in any ``per_seconds``.

    ``clock_aligned`` is for quotas that start anew on the clock instead of sliding (DrChrono:
    500 an hour from the full hour on).
    """

    requests: Annotated[int, Field(ge=1)]
    per_seconds: Seconds
    clock_aligned: bool = False


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
    header with the epoch second at which a quota starts anew.
    """

    timeout_connect: Seconds = 10
    timeout_read: Seconds = 60
    deadline: Seconds = 300
    max_bytes: Annotated[int, Field(ge=1)] = 64 << 20
    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    backoff: Annotated[float, Field(ge=0)] = 0.5
    max_backoff: Annotated[float, Field(ge=0)] = 120
    max_wait: Seconds = 900
    reset_header: str | None = None
    on_status: tuple[StatusRule, ...] = ()
    allow_hosts: tuple[AllowedHost, ...] = ()
    verify: Annotated[Literal[True] | str, BeforeValidator(_never_unverified)] = True
    allow_plain_http: bool = False

    def action_for(self, status: int) -> str | None:
        """The first rule's action for a status, or None: then it means what it means everywhere."""
        return next((rule.action for rule in self.on_status if status in rule.status), None)
