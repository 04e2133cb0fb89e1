"""Where the API is: the base URL from ``servers``, or from Swagger's host and basePath.

Belongs here: choosing one and saying what is doubtful about it. Does not belong here: going there.
Our credential will be sent to this address, so one that is not sure is left to the environment.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from migration_assets.legacy.drafting.documents import Document, mapping, sequence, text
from migration_assets.legacy.drafting.listings import PATH_PARAMETER
from migration_assets.legacy.drafting.words import one_line
from migration_assets.legacy.origins import base_url_problem, origin_of, origin_text


@dataclass(frozen=True)
class Base:
    """A base URL as text, or a reference to the environment, and what to decide about it."""

    url: str | Mapping[str, str]
    decide: tuple[str, ...] = ()


def base_of(document: Document, variable: str) -> Base:
    """The base URL; ``variable`` is the name it gets in the environment if none is sure."""
    elsewhere: Mapping[str, str] = {"env": variable}
    usable, problem = [], ""
    named = list(_urls(document))
    for url in named:
        found = base_url_problem(url, allow_plain_http=False)
        if found is None:
            usable.append(url)
        problem = problem or (found or "")
    if not usable:
        why = f"names an address that {problem}" if named else "does not say where the API is"
        said = f"the document {why}: set {variable} to the address below which its paths begin"
        return Base(elsewhere, (said,))
    decide = []
    if len(usable) > 1:
        others = ", ".join(one_line(one) for one in usable[1:4])
        decide.append(
            f"{len(usable)} addresses are named, the first is taken; others: {others}. On a wrong "
            "one (a sandbox, another tenant) every row of the right one would be missing"
        )
    if _has_variables(document):
        decide.append(
            "the address has parts that differ from one customer to the next; the document's own "
            "values are filled in: another tenant's rows, or none, would be pulled"
        )
    origin, home = origin_of(usable[0]), origin_of(document.url or "")
    if origin is not None and home is not None and origin != home:
        decide.append(
            f"the credential will be sent to {one_line(origin_text(origin))}, which is not where "
            "the document came from: is that host the vendor's?"
        )
    return Base(usable[0], tuple(decide))


def _urls(document: Document) -> Iterator[str]:
    """Absolute addresses in the document's order, https first where a choice is given."""
    if document.is_swagger:
        yield from _of_swagger(document)
        return
    for raw in sequence(document.root.get("servers")):
        server = document.resolve(raw)
        url, variables = text(server.get("url")), mapping(server.get("variables"))

        def filled(found: Any, variables: Mapping[str, Any] = variables) -> str:
            default = mapping(variables.get(found[1])).get("default")
            return default if isinstance(default, str) else "{?}"

        url = PATH_PARAMETER.sub(filled, url)
        if "{?}" not in url:
            yield from _absolute(url, document)


def _of_swagger(document: Document) -> Iterator[str]:
    host, path = text(document.root.get("host")), text(document.root.get("basePath"))
    schemes = [one for one in sequence(document.root.get("schemes")) if isinstance(one, str)]
    if not host:
        yield from _absolute(path, document) if document.url else ()
        return
    for scheme in sorted(schemes or ["https"], key=lambda one: one != "https"):
        yield from _absolute(f"{scheme}://{host}{path}", document)
        return


def _absolute(url: str, document: Document) -> Iterator[str]:
    try:
        parts = urlsplit(urljoin(document.url or "", url))
    except ValueError:
        return
    if parts.scheme and url.isprintable() and " " not in url:
        yield urlunsplit(parts._replace(query="", fragment="")).rstrip("/")


def _has_variables(document: Document) -> bool:
    servers = [document.resolve(one) for one in sequence(document.root.get("servers"))]
    return any("{" in text(one.get("url")) for one in servers[:1])
