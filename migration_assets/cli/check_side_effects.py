"""What ``migration check`` says of those who would be woken by what is written."""

from collections import Counter
from collections.abc import Iterator, Sequence

from migration_assets.cli.findings import Finding, tried
from migration_assets.counting import several
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.listeners import Listener, listeners
from migration_assets.settings import Settings

_CLAIM = "Medplum listeners"
_SHOWN = 5


def side_effects(
    client: MedplumClient, types: Sequence[str], settings: Settings
) -> Iterator[Finding]:
    """Active Subscriptions on the types that are migrated, and Bots, with what to do about them."""
    found, said = tried(_CLAIM, lambda: listeners(client), lambda _: "")
    if found is None:
        yield Finding(
            _CLAIM,
            "warning",
            f"{said.told} Nobody knows what a backfill would set off: let the client's "
            "AccessPolicy read Subscription and Bot.",
        )
        return
    fire = found.on(types)
    scheduled = f", {found.scheduled:,} of them by a timer" if found.scheduled else ""
    told = f"{several(found.bots, 'Bot')}{scheduled}; "
    told += several(len(found.subscriptions), "active Subscription")
    if found.full:
        told += " or more"
    if not fire:
        yield Finding(_CLAIM, "ok", f"{told}, none of them on what is migrated")
        return
    narrow = (
        f"narrow their criteria with _tag:not={settings.marker}"
        if settings.marker
        else "set MIGRATION_MARKER before the first delivery, and narrow their criteria by it"
    )
    advice = (
        f"Leave them if that is meant; else {narrow}, or set them to off before a backfill and "
        "replay what they missed on purpose. Try it with one record first."
    )
    yield Finding(
        _CLAIM,
        "warning",
        f"{told}. These fire on what a backfill writes, and again on each change",
        details=tuple(_told(kind, each) for kind, each in sorted(fire.items())),
        warnings=(advice,),
        seen={kind: [vars(one) for one in each] for kind, each in sorted(fire.items())},
    )


def _told(kind: str, each: list[Listener]) -> str:
    channels = Counter(one.channel for one in each)
    names = ", ".join(f"Subscription/{one.id}" for one in each[:_SHOWN])
    more = " …" if len(each) > _SHOWN else ""
    told = ", ".join(f"{number} to {name}" for name, number in channels.items())
    return f"{kind}: {told} ({names}{more})"
