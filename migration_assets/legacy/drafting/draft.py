"""A draft from a document: everything of this room, in order.

Belongs here: the order, and the proof that what comes out loads. Does not belong here: evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.legacy.description import load_description
from migration_assets.legacy.drafting.credentials import credentials_of, variable
from migration_assets.legacy.drafting.documents import Document, mapping, text
from migration_assets.legacy.drafting.listings import Found, Listing, listings_of
from migration_assets.legacy.drafting.naming import named
from migration_assets.legacy.drafting.parents import settle_parents
from migration_assets.legacy.drafting.places import base_of
from migration_assets.legacy.drafting.rendering import rendered
from migration_assets.legacy.drafting.schemas import Schemas
from migration_assets.legacy.drafting.streams import StreamDraft, stream_of
from migration_assets.legacy.drafting.words import fit_name, joined, one_line, words

_SHOWN = 5
_OWN_HEADERS = frozenset({"accept", "contenttype", "authorization", "useragent", "acceptlanguage"})


@dataclass(frozen=True)
class Draft:
    """The YAML text, and what a person wants to hear about it.

    ``streams`` can be pulled as they stand, ``left_out`` stand in comments, ``variables`` must be
    set in the environment.
    """

    text: str
    streams: tuple[str, ...]
    left_out: tuple[str, ...]
    variables: tuple[str, ...]
    decisions: int


def draft(
    document: Document, *, where: str, name: str | None = None, only: Sequence[str] = ()
) -> Draft:
    """The draft of a document; ``where`` is how the document is called, ``only`` names streams.

    Raises:
        Permanent: nothing of it can be pulled, or ``only`` names what is not there.
    """
    if name is not None and not (name and fit_name(name, "") == name):
        raise Permanent("a source's name has letters, digits, _ . and - between them, 60 at most")
    found = listings_of(document, Schemas(document))
    if not found.listings:
        raise Permanent(
            f"{where} describes no GET that answers with a list of rows "
            f"({len(found.left_out) + len(found.singles)} answer with something else): "
            "write the description by hand, as the examples do"
        )
    streams = _chosen(_streams(found), only, where)
    used = {one.said["path"].replace("{parent}", "{") for one in streams if not one.blocked}
    listings = [one for one in found.listings if _comparable(one) in used] or found.listings
    source = name if name is not None else _name_of(document)
    prefix = "_".join(word.upper() for word in words(source))
    prefix = prefix if prefix[:1].isalpha() else f"SOURCE_{prefix}".rstrip("_")
    base = base_of(document, variable(prefix, "url"))
    credentials = credentials_of(document, listings, prefix, base.url)
    head: dict[str, Any] = {"name": source, "base_url": base.url}
    if credentials.auth is not None:
        head["auth"] = credentials.auth
    headers = {**credentials.headers, **_demanded(listings, prefix, credentials.auth or {})}
    if headers:
        head["headers"] = headers
    comments = {"base_url": base.decide, "auth": credentials.decide}
    if credentials.auth is None:
        comments = {"base_url": (*base.decide, *credentials.decide)}
    told = rendered(head, comments, streams, _notes(document, found))
    load_description(told)
    return Draft(
        told,
        tuple(one.name for one in streams if not one.blocked),
        tuple(one.name for one in streams if one.blocked),
        tuple(dict.fromkeys(_variables(head))),
        sum(line.startswith("# decide:") for line in told.splitlines()),
    )


def _streams(found: Found) -> list[StreamDraft]:
    """Every listing as a stream; one whose parent must be completed first must wait for it."""
    all_named = named(found.listings)
    names = [one.name for one in all_named]
    singles = {path.removesuffix(".json"): one for path, one in found.singles.items()}
    streams = [
        stream_of(one, singles.get(one.listing.path.rstrip("/").removesuffix(".json")), names)
        for one in all_named
    ]
    settle_parents(streams)
    return streams


def _chosen(streams: list[StreamDraft], only: Sequence[str], where: str) -> list[StreamDraft]:
    """The streams asked for, and those whose keys they take."""
    by_name = {one.name: one for one in streams}
    unknown = [name for name in only if name not in by_name]
    if unknown:
        raise Permanent(
            f"{where} has no list called {', '.join(one_line(name) for name in unknown)}; "
            f"it has {', '.join(by_name)}"
        )
    wanted = set(only or by_name)
    left = list(wanted)
    while left:
        parent = by_name[left.pop()].parent
        if parent is not None and parent not in wanted:
            wanted.add(parent)
            left.append(parent)
    return [one for one in streams if one.name in wanted]


def _comparable(listing: Listing) -> str:
    """The path as a stream says it, whatever the parameter in it is called."""
    head, brace, rest = listing.path.lstrip("/").partition("{")
    return head + (brace + rest.partition("}")[2] if brace else "")


def _name_of(document: Document) -> str:
    title = text(mapping(document.root.get("info")).get("title"))
    return fit_name("-".join(words(title)), "source")


def _demanded(
    listings: Sequence[Listing], prefix: str, auth: dict[str, Any] | Any
) -> dict[str, dict[str, str]]:
    """Headers without which the source does not answer (a tenant's, as a rule)."""
    taken = _OWN_HEADERS | {joined(str(auth.get("name", "")))}
    return {
        each.name: {"env": variable(prefix, each.name)}
        for one in listings
        for each in one.parameters
        if each.place == "header" and each.required and joined(each.name) not in taken
        and each.name.isascii() and each.name.isprintable()
    }  # fmt: skip


def _notes(document: Document, found: Found) -> list[str]:
    kind = "Swagger" if document.is_swagger else "OpenAPI"
    notes = [
        f"Drafted from {kind} {one_line(document.version)}: settle each decide line, then check."
    ]
    if document.not_followed:
        listed = ", ".join(one_line(one) for one in document.not_followed[:_SHOWN])
        notes.append(
            f"{len(document.not_followed)} other files are referred to and were not followed: "
            f"{listed}. What they describe is unknown here."
        )
    if document.broken:
        notes.append(f"{document.broken} references lead nowhere inside the document.")
    if found.left_out:
        listed = ", ".join(one_line(one) for one in found.left_out[:_SHOWN])
        more = f" and {len(found.left_out) - _SHOWN} more" if len(found.left_out) > _SHOWN else ""
        notes.append(f"Not lists of rows, as far as the document says: {listed}{more}.")
    return notes


def _variables(value: Any) -> list[str]:
    """Every variable of the environment that the draft names."""
    if isinstance(value, dict):
        if set(value) == {"env"}:
            return [value["env"]]
        return [name for one in value.values() for name in _variables(one)]
    return []
