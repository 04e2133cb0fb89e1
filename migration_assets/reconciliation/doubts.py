"""The second look: nothing is called a finding before the account and Medplum both stood still.

Belongs here: collecting what is doubtful, and looking at it again. Does not belong here: what makes
it doubtful, or what follows when it still is.

A run may write all the time. Between a first reading of the account and a second one Medplum is
searched; an identifier of which the account said something else afterwards is looked at again, and
in the end left alone as unsettled.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from migration_assets.manifest import Manifest
from migration_assets.manifest.reconciliations import Held
from migration_assets.mapping import Resource
from migration_assets.reconciliation.asking import AT_ONCE, Asker

_LOOKS = 3

Believe = Callable[[dict[str, list[Resource]], dict[str, Held]], None]
"""Told what carries each identifier, by token, and what the account says of it all the time."""


class Doubts:
    """Tokens of one type to be looked at again, as many at a time as one search takes."""

    def __init__(
        self,
        manifest: Manifest,
        asker: Asker,
        resource_type: str,
        notes: Counter[str],
        believe: Believe,
    ) -> None:
        """``notes`` counts as ``unsettled`` what did not stand still."""
        self._manifest = manifest
        self._asker = asker
        self._kind = resource_type
        self._notes = notes
        self._believe = believe
        self._names: dict[str, None] = {}

    def add(self, names: Iterable[str]) -> None:
        """Look at these again; as soon as they fill a search."""
        self._names.update(dict.fromkeys(names))
        while len(self._names) >= AT_ONCE:
            self._look(AT_ONCE)

    def settle(self) -> None:
        """Look at all that is left."""
        while self._names:
            self._look(AT_ONCE)

    def _look(self, most: int) -> None:
        names = list(self._names)[:most]
        for each in names:
            del self._names[each]
        account = self._manifest.reconciliations
        for _ in range(_LOOKS):
            before = account.held(names)
            keys = {name: name.split("|", 2)[2] for name in names}
            matches = self._asker.carrying(self._kind, keys.values())
            after = account.held(names)
            still = [name for name in names if before.get(name) == after.get(name)]
            self._believe({name: matches[keys[name]] for name in still}, after)
            names = [name for name in names if before.get(name) != after.get(name)]
            if not names:
                return
        self._notes["unsettled"] += len(names)
