"""How the verbs about exceptions are told which units are meant, and who speaks.

Belongs here: from a command's options to a selection. Does not belong here: a verb.
"""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migration_assets.connections import mappings_of
from migration_assets.errors import Permanent
from migration_assets.manifest import Selection, State
from migration_assets.manifest.dead_letters import KINDS
from migration_assets.mapping import Mapping
from migration_assets.operations.delivering import streams_of
from migration_assets.settings import Settings


@dataclass(frozen=True)
class Streams:
    """The mappings of this installation, by what people call their streams."""

    mappings: tuple[Mapping[Any], ...]

    def named(self, names: Sequence[str]) -> tuple[Mapping[Any], ...]:
        """The mappings of some FHIR types or streams; all of them if none is named.

        Raises:
            Permanent: a name is neither; says which there are.
        """
        known = {each.stream: each for each in self.mappings}
        rows = (each for each in self.mappings if each.beside is None)
        known |= {name: each for each in rows for name in each.types}
        for name in names:
            if name not in known:
                raise Permanent(f"No mapping makes {name}. There are: {', '.join(known)}.")
        chosen = {known[name].stream for name in names}
        return tuple(each for each in self.mappings if not names or each.stream in chosen)

    def type_of(self, stream: str) -> str:
        """The type that the rows of a stream become; the stream where no mapping has it."""
        types = {each.stream: each.resource_type for each in self.mappings if not each.beside}
        return types.get(stream, stream)


def streams(settings: Settings, *, sent: bool = False) -> Streams:
    """The streams that mappings are there for; ``sent``: and what services send of their types."""
    found = mappings_of(settings).values()
    return Streams(tuple(streams_of(found) if sent else found))


def selection(
    known: Streams,
    *,
    keys: Sequence[str] | None,
    types: Sequence[str] | None,
    reason: str | None,
    state: str | None = None,
    run: str | None = None,
    owner: str | None = None,
    open_only: bool = False,
) -> Selection:
    """Which units a command means.

    Raises:
        Permanent: an unknown type or state.
    """
    kinds = [each.value for each in KINDS]
    if state is not None and state not in kinds:
        raise Permanent(f"No exception has the state {state}. There are: {', '.join(kinds)}.")
    return Selection(
        keys=tuple(keys or ()),
        # A key is found by its stream: without one all units would be gone through.
        streams=tuple(each.stream for each in known.named(types or ())) if types or keys else (),
        reason=reason,
        states=(State(state),) if state else (),
        run=run,
        owner=owner,
        open_only=open_only,
    )


def refuse_everything(chosen: Selection) -> None:
    """Refuse to act where nothing says on what.

    Raises:
        Permanent: the selection means every unit there is.
    """
    if not (chosen.keys or chosen.streams or chosen.reason or chosen.run):
        raise Permanent(
            "Nothing says which units are meant. Name keys, or give --reason, --type or --run."
        )


def speaker(name: str | None) -> str:
    """Who decides: whom the command names, else the user who runs it.

    Raises:
        Permanent: nobody can be told.
    """
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise Permanent("Who decides this could not be told. Say it with --by.") from None
