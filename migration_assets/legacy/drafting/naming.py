"""What the streams are called, and which one's keys a path asks for.

Belongs here: names and parents from paths. Does not belong here: what a stream holds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from migration_assets.legacy.drafting.listings import PATH_PARAMETER, Listing
from migration_assets.legacy.drafting.words import fit_name, joined, one_line, singular, words

_KEY_WORDS = frozenset({"id", "uuid", "guid", "key", "ref", "reference", "by", "for"})


@dataclass(frozen=True)
class Named:
    """A listing with the name of its stream.

    ``parent`` is the stream whose keys its path takes; ``ids_file`` a list of them where no stream
    gives any; ``blocked`` says why neither will do.
    """

    listing: Listing
    name: str
    parent: str | None = None
    ids_file: str | None = None
    blocked: str | None = None


def named(listings: Iterable[Listing]) -> tuple[Named, ...]:
    """Every listing with a name of its own, in the document's order."""
    in_order = list(listings)
    taken: set[str] = set()
    names: dict[str, str] = {}
    plain = [one for one in in_order if not PATH_PARAMETER.search(one.path)]
    own = {one.path: _own_name(_literals(one.path), taken) for one in plain}
    for path, name in own.items():
        names.setdefault(_bare(path), name)
    return tuple(
        Named(one, own[one.path])
        if one.path in own
        else _of_a_parent(one, names, taken, plain_paths=len(plain))
        for one in in_order
    )


def _of_a_parent(
    one: Listing, names: Mapping[str, str], taken: set[str], *, plain_paths: int
) -> Named:
    asked = PATH_PARAMETER.findall(one.path)
    above = one.path[: one.path.index("{")]
    parent = names.get(_bare(above))
    name = _own_name([*([parent] if parent else _literals(above)[-1:]),
                      *_literals(one.path)[-1:]], taken, longest=True)  # fmt: skip
    if len(asked) > 1:
        return Named(one, name, blocked="its path takes more than one key")
    if parent is not None:
        return Named(one, name, parent=parent)
    if not _literals(above) or not plain_paths:
        said = (
            f"its path takes {{{one_line(asked[0])}}}, of which no stream gives the keys: "
            "if it is the same for all rows (a practice), write it into path"
        )
        return Named(one, name, blocked=said)
    return Named(one, name, ids_file=f"{fit_name(_literals(above)[-1], 'parent')}-ids.txt")


def _bare(path: str) -> str:
    return path.rstrip("/").removesuffix(".json")


def _literals(path: str) -> list[str]:
    parts = [part for part in _bare(path).split("/") if part and "{" not in part]
    return [fit_name(part, "") for part in parts if fit_name(part, "")]


def _own_name(parts: list[str], taken: set[str], *, longest: bool = False) -> str:
    """The last part; with those before it, then a number, as long as it is taken."""
    parts = parts or ["stream"]
    tries = ["_".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    if longest:
        tries = tries[-1:]
    tries += [f"{tries[-1]}_{number}" for number in range(2, len(taken) + 3)]
    name = next(one for one in tries if one not in taken)
    taken.add(name)
    return name


def parent_by_parameter(parameter: str, streams: Iterable[str]) -> str | None:
    """The stream a required parameter takes a key of: ``patient_id`` → patients."""
    stem = "".join(word for word in words(parameter) if word not in _KEY_WORDS)
    found = [one for one in streams if stem and stem in (joined(singular(one)), joined(one))]
    return found[0] if len(found) == 1 else None
