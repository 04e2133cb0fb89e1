"""The audit of dual writes: what services wrote beside what the puller would have written.

Belongs here: each row that changed, told as agreed, missed or different. Does not belong here: how
much of that may be (``adoption.gates``), or repairing (the puller's own delivery does).

A row that the puller found in Medplum as it would have written it agrees. What it created, changed
or deleted itself the services had missed or written otherwise: that is in its attempts. What is
still pending is looked up now, as a rehearsal would. A service that is slower than the puller looks
like one that missed: both write the same, and the figure errs on the safe side.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.adoption.gates import Discrepancy
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.manifest.switching import Touched
from migration_assets.mapping import Mapping
from migration_assets.medplum import DUPLICATE, EDITED, GONE, Fhir
from migration_assets.operations.rehearsing import Outlook, Rehearsal

_THEIRS = (EDITED, GONE, DUPLICATE)
_MADE_UP = {"created": "missed", "deleted": "missed", "changed": "different"}
_AGREES = ("migrated", "unchanged")


def audit(
    manifest: Manifest,
    fhir: Fhir | None,
    adoption: Adoption,
    mapping: Mapping[Any],
    *,
    since: datetime,
    among: Callable[[Iterable[int]], set[int]] = set,
) -> Discrepancy:
    """Compare every row of a type that changed at or after ``since``.

    ``among`` leaves units out that are not meant. Without ``fhir`` what is pending stays unknown.
    Writes nothing.
    """
    counts: Counter[str] = Counter()
    rehearsal = Rehearsal(manifest, fhir, adoption)
    for every in manifest.switching.touched(mapping.stream, since):
        meant = among(each.unit_id for each in every)
        page = [each for each in every if each.unit_id in meant]
        pending = [each.unit_id for each in page if each.state is State.PENDING]
        counts.update(_settled(each) for each in page if each.state is not State.PENDING)
        if fhir is None:
            counts["unknown"] += len(pending)
        else:
            chunks = _chunks(manifest, pending)
            counts.update(map(_rehearsed, rehearsal.rehearse(mapping, chunks)))
    return Discrepancy(
        since=since,
        agreed=counts["agreed"],
        missed=counts["missed"],
        different=counts["different"],
        left_out=counts["left_out"],
        unknown=counts["unknown"],
    )


def _settled(each: Touched) -> str:
    """By what we did: the first that had to be done tells that something was amiss."""
    if each.reason in _THEIRS:
        return "different"
    for event, status in sorted(each.done):
        if event == "deleted" and not status.startswith("2"):
            continue  # it was gone already, as it should be
        if event == "overwrote-edit":
            return "different"
        if event in _MADE_UP:
            return _MADE_UP[event]
    return "agreed" if each.state.value in _AGREES else "left_out"


def _rehearsed(each: Outlook) -> str:
    if each.reason in _THEIRS:
        return "different"
    events = {event for _token, event in each.resources}
    for event, verdict in _MADE_UP.items():
        if event in events:
            return verdict
    return "agreed" if each.state.value in _AGREES else "left_out"


def _chunks(manifest: Manifest, numbers: Sequence[int]) -> Iterator[list[SettledUnit]]:
    if numbers:
        yield manifest.remapping.settled(numbers)
