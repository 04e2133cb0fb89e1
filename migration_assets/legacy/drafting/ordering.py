"""What rows can be sorted by, where a parameter of the list says it.

Belongs here: a parameter whose listed choices name the key or the change time. Does not belong
here: a source's own order, of which a document says nothing that could be believed.
"""

from collections.abc import Mapping

from migration_assets.legacy.drafting.listings import Listing
from migration_assets.legacy.drafting.words import joined

_SORTS = frozenset(
    {"sort", "sortby", "orderby", "ordering", "order", "sortfield", "sortcolumn", "orderfield"}
)
_DIRECTIONS = frozenset(
    {"order", "sortorder", "direction", "sortdirection", "orderdirection", "dir", "sortdir"}
)
_CREATED = ("createdat", "created", "datecreated", "createddate", "creationdate")


def sorted_by(listing: Listing, *fields: str) -> Mapping[str, str] | None:
    """The parameters that sort a list ascending by one of the fields, or None."""
    wanted = {joined(one) for one in fields} | {joined(one.rpartition(".")[2]) for one in fields}
    for parameter in listing.query:
        if joined(parameter.name) not in _SORTS:
            continue
        for choice in parameter.choices:
            if not choice.startswith("-") and joined(choice).removesuffix("asc") in wanted:
                return {parameter.name: choice, **_ascending(listing)}
    return None


def sorted_for_good(listing: Listing, key: tuple[str, ...]) -> Mapping[str, str] | None:
    """The parameters that sort a list by what never changes: its key, or else its creation."""
    own = sorted_by(listing, *key) if len(key) == 1 else None
    return own or sorted_by(listing, *_CREATED)


def says_order(parameter: str) -> bool:
    """True for a parameter that sorts and leaves no row out."""
    return joined(parameter) in _SORTS | _DIRECTIONS


def _ascending(listing: Listing) -> Mapping[str, str]:
    for parameter in listing.query:
        for choice in parameter.choices:
            if joined(parameter.name) in _DIRECTIONS and choice.lower() in ("asc", "ascending"):
                return {parameter.name: choice}
    return {}
