"""Sending to the inbox from a service in Python.

Belongs here: one event, sent once. Does not belong here: keeping it until it is taken (``outbox``).
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
import requests  # noqa: TID251 - this is for services, which speak HTTP to us

from migration_assets.errors import Permanent, Transient

_SECONDS = 30.0
# For good is only what the inbox says of the event itself: a token that is being exchanged, or a
# proxy on the way that answers instead, says nothing of it.
_FOR_GOOD = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


class Unsent(Transient):
    """The inbox did not say that it has the event: send it again, with the same key.

    ``wait``: seconds that the inbox asked for.
    """

    def __init__(self, said: str, wait: float | None = None) -> None:
        super().__init__(said)
        self.wait = wait


class Refused(Permanent):
    """The inbox will not take the event as it is, now or later."""


def send_event(
    url: str,
    token: str,
    stream: str,
    content: Any,
    *,
    key: str,
    deleted: bool = False,
    modified: str | None = None,
    timeout: float = _SECONDS,
) -> dict[str, Any]:
    """Send rows of a stream, or for ``fhir/<Type>`` a resource; returns the inbox's answer.

    ``key`` is the event's own for ever: sent again with it, nothing happens twice. ``modified`` is
    when it changed, for what does not say so itself. ``content`` may be JSON as bytes.

    Raises:
        Unsent: nobody knows whether it was taken; send it again with the same key.
        Refused: it cannot be taken; the message says why, and nothing of it.
    """
    kind = stream.partition("fhir/")[2]
    path = f"fhir/{quote(kind, safe='')}" if kind else f"events/{quote(stream, safe='')}"
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Idempotency-Key": key,
        **({"Last-Modified": modified} if modified else {}),
    }
    try:
        answer = requests.post(
            f"{url.rstrip('/')}/{path}",
            data=content if isinstance(content, bytes) else orjson.dumps(content),
            params={"deleted": "true"} if deleted else None,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,  # the token is for this inbox alone
        )
        told = orjson.loads(answer.content) if answer.status_code == HTTPStatus.ACCEPTED else {}
    except (requests.RequestException, orjson.JSONDecodeError) as error:
        raise Unsent(
            f"Sending an event of {stream} failed ({type(error).__name__}). Send it again, with "
            "the same key."
        ) from None
    if answer.status_code == HTTPStatus.ACCEPTED:
        return dict(told)
    if answer.status_code not in _FOR_GOOD:
        wait = answer.headers.get("Retry-After", "")
        raise Unsent(
            f"Sending an event of {stream} failed: the inbox says {answer.status_code}. Send it "
            "again, with the same key.",
            float(wait) if wait.isdecimal() else None,
        )
    raise Refused(f"The inbox refused an event of {stream} ({answer.status_code}): {_said(answer)}")


def _said(answer: requests.Response) -> str:
    """The inbox's own sentence, which holds nothing of what was sent."""
    try:
        said = orjson.loads(answer.content)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "no reason was given; is this the inbox?"
    return str(said)
