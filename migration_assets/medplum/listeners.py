"""Who listens in a project: active Subscriptions and Bots, which fire on what a migration writes.

Belongs here: asking for them, and which types each is for. Does not belong here: what a person does
about it (``cli.check_side_effects``). What a Subscription's criteria look for may name a patient:
only its type goes on from here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from migration_assets.medplum.client import SEARCH_COUNT, Fhir

_TYPE = re.compile(r"[A-Z][A-Za-z]*")


@dataclass(frozen=True)
class Listener:
    """One active Subscription; ``channel`` is ``bot``, or as FHIR names it.

    ``narrowed``: its criteria look at the marker, or at any other tag.
    """

    id: str
    resource_type: str
    channel: str
    narrowed: bool = False


@dataclass(frozen=True)
class Listeners:
    """Who listens in a project; ``full``: there are more than one search finds."""

    subscriptions: tuple[Listener, ...]
    bots: int
    scheduled: int
    """Bots that a timer starts, whatever is written."""
    full: bool = False

    def on(self, types: Iterable[str]) -> dict[str, list[Listener]]:
        """Those that fire when one of these types is written, by type."""
        wanted = set(types)
        found: dict[str, list[Listener]] = {}
        for each in self.subscriptions:
            if each.resource_type in wanted:
                found.setdefault(each.resource_type, []).append(each)
        return found


def listeners(fhir: Fhir) -> Listeners:
    """Ask a project who listens: 20 points for each of two searches.

    Raises:
        Transient, Permanent: it would not say; the AccessPolicy may hide them.
    """
    found = fhir.search("Subscription", {"status": "active"})
    bots = fhir.search("Bot", {})
    return Listeners(
        tuple(map(_listener, found)),
        len(bots),
        sum(bool(each.get("cronString") or each.get("cronTiming")) for each in bots),
        full=max(len(found), len(bots)) >= SEARCH_COUNT,
    )


def _listener(subscription: dict[str, Any]) -> Listener:
    criteria = str(subscription.get("criteria") or "")
    channel = subscription.get("channel") or {}
    kind = _TYPE.match(criteria)
    to_bot = str(channel.get("endpoint") or "").startswith("Bot/")
    return Listener(
        str(subscription.get("id")),
        kind[0] if kind else "",
        "bot" if to_bot else str(channel.get("type") or "unknown"),
        "_tag" in criteria,
    )
