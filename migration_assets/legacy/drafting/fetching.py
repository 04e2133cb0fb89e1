"""An OpenAPI document behind a URL, fetched as every row is: through ``Transport``.

Belongs here: the description of that one request. Does not belong here: a client of its own. So no
redirect is followed, size and time are bounded, TLS is verified, plain http stays on this machine,
and no credential is sent.
"""

import time
from urllib.parse import urlsplit

from migration_assets.errors import Permanent
from migration_assets.legacy.description import Http, Source
from migration_assets.legacy.drafting.documents import LARGEST_DOCUMENT, Document, document_of
from migration_assets.legacy.origins import base_url_problem, origin_of, origin_text, place
from migration_assets.legacy.transport import Transport

_DECODER = "migration_assets.legacy.drafting.documents:parsed"
_SECONDS = 60
_ACCEPT = (
    "application/vnd.oai.openapi+json, application/json, application/vnd.oai.openapi, "
    "application/yaml, text/yaml, */*;q=0.1"
)


def is_url(text: str) -> bool:
    """True if an argument is an address and not a file's name."""
    return text.lower().startswith(("http://", "https://"))


def fetch_document(url: str) -> Document:
    """The document at a URL, which may have a query (``?format=openapi``).

    Raises:
        Permanent: the address is not one we go to, or no document is there.
        Transient: the host is down or busy.
    """
    where, origin = f"the document at {place(url)}", origin_of(url)
    problem = base_url_problem(urlsplit(url)._replace(query="", fragment="").geturl()
                               if origin else url, allow_plain_http=False)  # fmt: skip
    if problem or origin is None:
        raise Permanent(
            f"{where} is not fetched: its address {problem}; "
            "or save the document and give its file's name"
        )
    source = Source(
        name="openapi",
        base_url=origin_text(origin),
        headers={"Accept": _ACCEPT},
        http=Http(
            max_bytes=LARGEST_DOCUMENT,
            deadline=_SECONDS,
            timeout_read=_SECONDS / 2,
            attempts=3,
            backoff=0.2,
            max_wait=_SECONDS,
            decoder=_DECODER,
        ),
        streams=({"name": "document", "path": "/", "id": "id"},),
    )
    transport = Transport(source, environ={}, clock=time.time, sleep=time.sleep)
    try:
        answer = transport.fetch(url, (), where=f"reading {where}")
    except Permanent as error:
        told = str(error)
    else:
        return document_of(answer.body, url=url, where=where)
    finally:
        transport.close()
    raise Permanent(f"{told}; or save the document and give its file's name")
