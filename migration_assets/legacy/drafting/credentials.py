"""Who we are to the source: one authentication from the document's security schemes.

Belongs here: schemes to ``description.authentication``, secrets as names of variables. Does not
belong here: a secret. Where schemes are alternatives, the one that needs no person to renew it is
taken; where several are demanded together, keys go along as headers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from migration_assets.legacy.drafting.documents import Document, mapping, sequence, text
from migration_assets.legacy.drafting.listings import Listing
from migration_assets.legacy.drafting.words import joined, one_line, words
from migration_assets.legacy.origins import base_url_problem, origin_of

_BY_A_PERSON = (
    "no client credentials flow is described: a token that a person fetched runs out, and pulling "
    "stops; ask the vendor for access without a person (client credentials, or a key)"
)


@dataclass(frozen=True)
class Credentials:
    """``auth`` and ``headers`` as the description writes them; ``auth`` is None for none."""

    auth: Mapping[str, Any] | None = None
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    decide: tuple[str, ...] = ()


def credentials_of(
    document: Document, listings: Iterable[Listing], prefix: str, base: Any
) -> Credentials:
    """The authentication most of the listings ask for; ``prefix`` begins every variable's name."""
    schemes = _schemes(document)
    wanted = _alternatives(document, listings)
    if wanted is None:
        wanted = [{name: []} for name in schemes]
    known = [one for one in wanted if one and all(name in schemes for name in one)]
    if not known:
        return _undeclared(listings, prefix)
    ranked = sorted(known, key=lambda one: min(_rank(schemes[name]) for name in one))
    names = sorted(ranked[0], key=lambda name: _rank(schemes[name]))
    auth, decide = _auth(schemes[names[0]], ranked[0][names[0]], prefix, base)
    headers: dict[str, Mapping[str, str]] = {}
    for name in names[1:]:
        key = schemes[name]
        if text(key.get("type")) == "apiKey" and text(key.get("in")) == "header":
            headers[text(key.get("name"))] = {"env": variable(prefix, text(key.get("name")))}
        else:
            decide = (*decide, f"{one_line(name)} is demanded as well, in a way not drafted")
    if len(ranked) > 1:
        others = ", ".join(one_line(" with ".join(one)) for one in ranked[1:4])
        said = (
            f"{one_line(' with '.join(names))} is taken, {others} is allowed too: rows that this "
            "account may not see would be missing"
        )
        decide = (*decide, said)
    headers.pop("", None)
    return Credentials(auth, headers, decide)


def variable(prefix: str, name: str) -> str:
    """The name of a variable of the environment: ``X-API-Key`` → CLINIC_X_API_KEY."""
    return "_".join((prefix, *(word.upper() for word in words(name)))).rstrip("_")


def _schemes(document: Document) -> Mapping[str, Mapping[str, Any]]:
    if document.is_swagger:
        found = mapping(document.root.get("securityDefinitions"))
    else:
        components = mapping(document.root.get("components"))
        found = mapping(components.get("securitySchemes"))
    return {name: document.resolve(raw) for name, raw in found.items()}


def _alternatives(
    document: Document, listings: Iterable[Listing]
) -> list[dict[str, list[str]]] | None:
    """What most listings demand: alternatives, each a set of schemes with their scopes."""
    counted: Counter[str] = Counter()
    by_text: dict[str, list[Any]] = {}
    for one in listings:
        own = one.operation.get("security", document.root.get("security"))
        if isinstance(own, list):
            told = repr([sorted(mapping(each)) for each in own])
            counted[told] += 1
            by_text.setdefault(told, []).extend(own)
    if not counted:
        return None
    together: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for each in by_text[counted.most_common(1)[0][0]]:
        said = mapping(each)
        scopes = together.setdefault(tuple(said), {name: [] for name in said})
        for name, needed in said.items():
            scopes[name] += [one for one in sequence(needed) if one not in scopes[name]]
    return list(together.values())


def _rank(scheme: Mapping[str, Any]) -> int:
    """How little a person is needed; 9 for what cannot be drafted."""
    kind, http = text(scheme.get("type")), text(scheme.get("scheme")).lower()
    if kind == "oauth2":
        return 0 if _client_credentials(scheme) else 5
    if kind == "apiKey":
        return {"header": 2, "query": 4}.get(text(scheme.get("in")), 8)
    if kind == "basic" or http == "basic":
        return 3
    return 1 if http == "bearer" else 6 if kind == "openIdConnect" else 9


def _client_credentials(scheme: Mapping[str, Any]) -> Mapping[str, Any]:
    if text(scheme.get("flow")) == "application":  # Swagger 2.0
        return scheme if text(scheme.get("tokenUrl")) else {}
    flow = mapping(mapping(scheme.get("flows")).get("clientCredentials"))
    return flow if text(flow.get("tokenUrl")) else {}


def _auth(
    scheme: Mapping[str, Any], scopes: Iterable[Any], prefix: str, base: Any
) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    def env(name: str) -> Mapping[str, str]:
        return {"env": variable(prefix, name)}

    rank, name = _rank(scheme), text(scheme.get("name"))
    if rank == 0:
        return _oauth2(_client_credentials(scheme), scopes, prefix, base)
    if rank in (1, 5, 6):
        return {"type": "bearer", "token": env("token")}, (_BY_A_PERSON,) if rank > 1 else ()
    if rank == 3:  # noqa: PLR2004  a row of _rank
        return {"type": "basic", "user": env("user"), "password": env("password")}, ()
    if rank == 2 and name:  # noqa: PLR2004  a row of _rank
        said = (
            f"{variable(prefix, name)} is the whole header, a first word such as Token included; "
            "without it every request is refused"
        )
        told = (said,) if joined(name) == "authorization" else ()
        return {"type": "header", "name": name, "value": env(name)}, told
    if rank == 4 and name:  # noqa: PLR2004  a row of _rank
        return {"type": "query", "param": name, "value": env(name)}, ()
    return None, ("its way to authenticate is not one we know: see auth, or write a plug-in",)


def _oauth2(
    flow: Mapping[str, Any], scopes: Iterable[Any], prefix: str, base: Any
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    url: Any = text(flow.get("tokenUrl"))
    decide: tuple[str, ...] = ()
    absolute = "://" in url or url.startswith("//")
    problem = base_url_problem(url, allow_plain_http=False) if absolute else None
    if problem or not url.isprintable() or " " in url:
        problem = problem or "is not an address"
        url = {"env": variable(prefix, "token_url")}
        decide = (f"the document's token address {problem}: set {url['env']}",)
    elif absolute and isinstance(base, str) and origin_of(url) != origin_of(base):
        host = one_line(urlsplit(url).netloc)
        decide = (f"the client's secret will be sent to {host}: is that host the vendor's?",)
    auth = {
        "type": "oauth2_client_credentials",
        "token_url": url,
        "client_id": {"env": variable(prefix, "client_id")},
        "client_secret": {"env": variable(prefix, "client_secret")},
    }
    scope = " ".join(one for one in scopes if isinstance(one, str) and one.isprintable())
    return ({**auth, "scope": scope} if scope else auth), decide


def _undeclared(listings: Iterable[Listing], prefix: str) -> Credentials:
    """No scheme: perhaps a header parameter is what it should have been."""
    for listing in listings:
        for one in listing.parameters:
            key = joined(one.name)
            if one.place == "header" and (
                key in ("authorization", "xauthtoken", "apikey", "xapikey") or "token" in key
            ):
                auth = {"type": "header", "name": one.name,
                        "value": {"env": variable(prefix, one.name)}}  # fmt: skip
                return Credentials(auth, {}, ())
    said = "the document names no way to authenticate: if the API asks for one, say auth"
    return Credentials(None, {}, (said,))
