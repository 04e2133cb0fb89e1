"""Delivering what services sent: the streams of which events wait, in load order.

Belongs here: which streams are due, and one that cannot be delivered keeping nobody else. Does not
belong here: how a unit travels (``pipeline``), or when to begin (``defs.inbox``).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.errors import Busy, MigrationError, Permanent, Transient
from migration_assets.fhir.sent import passthroughs
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.pipeline import migrate
from migration_assets.run import Run


@dataclass
class EventsDelivered:
    """What became of the units of the streams that were due, by stream and state."""

    by_stream: dict[str, Counter[str]] = field(default_factory=dict)
    busy: list[str] = field(default_factory=list)
    """Streams that another run is writing, which delivers what is pending of them as well."""


def streams_of(mappings: Iterable[Mapping[Any]]) -> list[Mapping[Any]]:
    """Each mapping, and after it what services send of its types; in load order."""
    return [one for each in mappings for one in (each, *passthroughs(each))]


def due(manifest: Manifest, adoption: Adoption, mappings: Sequence[Mapping[Any]]) -> list[str]:
    """The streams of which events wait, and may be delivered now."""
    waiting = manifest.inbox.waiting_streams()
    if not waiting:
        return []
    paused = manifest.pauses.standing()
    return [
        each.stream
        for each in streams_of(mappings)
        if each.stream in waiting
        and each.stream not in paused
        and adoption.standing(each.head).may_deliver
    ]


def deliver_events(run: Run, mappings: Sequence[Mapping[Any]]) -> EventsDelivered:
    """Deliver the streams that are due, and what waited for that.

    Raises:
        Transient, Permanent: what some stream met, after all were tried.
    """
    done = EventsDelivered()
    errors: list[MigrationError] = []
    paused = run.manifest.pauses.standing()
    wanted = set(due(run.manifest, run.adoption, mappings))
    for each in streams_of(mappings) if wanted else ():
        if each.stream in paused or not run.adoption.standing(each.head).may_deliver:
            continue
        # What referred to somebody who was not there yet may follow in the same run.
        released = run.manifest.release_awaiting(each.stream)
        if each.stream not in wanted and not released:
            continue
        try:
            worked = migrate(run, each)
        except Busy:
            done.busy.append(each.stream)
        except MigrationError as error:
            errors.append(error)
        else:
            counts = {state.value: number for state, number in worked.by_state.items() if number}
            done.by_stream[each.stream] = Counter(counts)
    if errors:
        fate = Transient if all(isinstance(each, Transient) for each in errors) else Permanent
        raise fate(" ".join(str(each) for each in errors))
    return done
