"""What a try that gave no answer means: whether to try again, and which fate it is in the end.

Belongs here: sorting failures at birth. Does not belong here: making requests (``transport``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import requests
import urllib3

from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets.legacy.deadlines import BROKEN_HEADERS

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_PROXY_UNAUTHORISED, _TOO_LARGE, _GATEWAY_TIMEOUT = 407, 413, 504
_UNAUTHORISED = frozenset({401, 403})
_SERVER_ERRORS = range(500, 600)
_TRIES_OF_A_WRONG_ANSWER = 3  # a maintenance page may go; a wrong base_url should be told soon


class AsksTooMuch(MigrationError):
    """The question was too much for the source: half of it may not be."""


class TooMuchForNow(AsksTooMuch, Transient):
    """It did not answer in time."""


class TooMuchForGood(AsksTooMuch, Permanent):
    """It will not answer that much."""


@dataclass(frozen=True)
class Disbelief:
    """Why a 200 is not believed. ``passing``: the source speaks of an error of its own."""

    reason: str
    passing: bool = False


@dataclass(frozen=True)
class Failure:
    """A try that gave no answer.

    ``again``: another try now may help. ``lasting``: another day will not. ``asked`` is the wait
    in seconds the source asked for, ``tries`` the most attempts this failure is worth.
    ``too_much``: a smaller question may be answered. ``status`` is what was answered, if anything.
    """

    reason: str
    again: bool = False
    lasting: bool = True
    unauthorised: bool = False
    advice: str = ""
    asked: float | None = None
    tries: int | None = None
    too_much: bool = False
    status: int | None = None

    def error(self, where: str, attempts: int, variables: Sequence[str]) -> Permanent | Transient:
        """The error to raise; ``variables`` is what a person checks if we were refused."""
        advice = self.advice
        if self.unauthorised:
            advice = f"check {' and '.join(variables)}" if variables else "describe its auth"
        after = f" after {attempts} attempts" if attempts > 1 else ""
        message = f"{where}: {self.reason}{after}" + (f"; {advice}" if advice else "")
        if self.lasting:
            return TooMuchForGood(message) if self.too_much else Permanent(message)
        return (TooMuchForNow if self.too_much else Transient)(message, retry_after=self.asked)


class BodyRefusedError(Exception):
    """A body that was not taken, and what that means."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


TOO_SLOW = Failure("the answer was not complete before the deadline", lasting=False, too_much=True)
CUT_OFF = Failure("the answer was cut off", again=True, lasting=False)
NOT_UNPACKED = Failure("the answer does not unpack", again=True, lasting=False)
UNKNOWN_PACKING = Failure("the answer is packed in a way that was not asked for")
HTML = Failure(
    "it answered HTML, not JSON",
    again=True,
    advice="is base_url right?",
    tries=_TRIES_OF_A_WRONG_ANSWER,
)
NOT_JSON = Failure(
    "the answer is not JSON",
    again=True,
    advice="is base_url right?",
    tries=_TRIES_OF_A_WRONG_ANSWER,
)
TOO_DEEP = Failure(
    "the answer is nested too deep",
    again=True,
    advice="is it the source that answered?",
    tries=_TRIES_OF_A_WRONG_ANSWER,
)
NOT_DECODED = Failure(
    "the decoder cannot read the answer",
    again=True,
    advice="is base_url right?",
    tries=_TRIES_OF_A_WRONG_ANSWER,
)


def too_large(max_bytes: int) -> Failure:
    """The body went over the bound."""
    return Failure(
        f"the answer is larger than {max_bytes} bytes",
        advice="ask for smaller pages, or raise http.max_bytes",
        too_much=True,
    )


def not_believed(doubt: Disbelief) -> Failure:
    """A 200 whose body is not what the description promises."""
    return Failure(
        f"it answered 200, but {doubt.reason}",
        again=True,
        lasting=not doubt.passing,
        tries=_TRIES_OF_A_WRONG_ANSWER,
    )


def of_connection(error: Exception) -> Failure:
    """No answer, or none that was complete."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Failure(
            "the host's certificate is not trusted",
            advice="give the authority's file as http.verify",
        )
    if BROKEN_HEADERS in str(error):
        return Failure("a line among its answer's headers is no header", again=True, lasting=False)
    proxied = isinstance(error, requests.exceptions.ProxyError)
    reachable = "is http.proxy right?" if proxied else "is the source up and reachable from here?"
    return Failure(
        f"no complete answer ({type(error).__name__})",
        again=True,
        lasting=False,
        advice=reachable,
        too_much=isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError),
    )


def of_status(status: int, action: str | None, asked: float | None, *, redirect: bool) -> Failure:
    """A status that is not an answer; ``action`` is what the description says of it, if it does."""
    return replace(_of_status(status, action, asked, redirect=redirect), status=status)


def _of_status(status: int, action: str | None, asked: float | None, *, redirect: bool) -> Failure:
    reason = f"it answered {status}"
    if action == "retry" or (action is None and status in _RETRIED):
        too_much = status == _GATEWAY_TIMEOUT
        return Failure(reason, again=True, lasting=False, asked=asked, too_much=too_much)
    if action is None and status == _PROXY_UNAUTHORISED:
        return Failure(f"{reason}: the proxy does not accept us", advice="is http.proxy right?")
    if action == "reauth" or (action is None and status in _UNAUTHORISED):
        return Failure(f"{reason}: it does not accept our credential", unauthorised=True)
    if action is None and redirect:
        return Failure(f"{reason}, a redirect: not followed", advice="is base_url right?")
    if action is None and status in _SERVER_ERRORS:
        return Failure(reason, lasting=False)
    advice = "are base_url, path and params right?"
    return Failure(reason, advice=advice, too_much=action is None and status == _TOO_LARGE)
