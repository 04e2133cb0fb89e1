"""Who sends: one deliverer, or one for each authority where cohorts of a type differ in it.

Belongs here: making each once, and adding up what they sent. Does not belong here: sending.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from migration_assets.adoption import Authority
from migration_assets.medplum import Deliverer


@dataclass
class Senders:
    """Deliverers by authority, made when they are first needed."""

    make: Callable[[Authority | None], Deliverer]
    _made: dict[Authority | None, Deliverer] = field(default_factory=dict)

    def under(self, authority: Authority | None) -> Deliverer:
        """The deliverer that lets this one win where both sides changed."""
        if authority not in self._made:
            self._made[authority] = self.make(authority)
        return self._made[authority]

    @property
    def bundles_sent(self) -> int:
        """Of all of them."""
        return sum(each.bundles_sent for each in self._made.values())

    @property
    def groups_sent_apart(self) -> int:
        """Of all of them."""
        return sum(each.groups_sent_apart for each in self._made.values())
