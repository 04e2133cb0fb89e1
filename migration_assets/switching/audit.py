"""The audit of dual writes: what services wrote beside what the puller would have written.

Belongs here: each row that changed, told as agreed, missed or different. Does not belong here: how
much of that may be (``adoption.gates``), or repairing (the puller's own delivery does).

Services write in three ways. Straight into Medplum: a row that the puller found there as it would
have written it agrees; what it created, changed or deleted itself the services had missed or
written otherwise, as its attempts tell. What is pending is looked up now, as a rehearsal would. As
events with the row (``inbox``): it agrees once the puller has read the row too, and found it so; or
otherwise, but of the same outcome. As FHIR: where the service's version says the same it agrees,
whoever was faster; where it counts as the newer one and says something else, it differs.

A service that writes into Medplum later than the puller looks like one that missed: both write the
same, and the figure errs on the safe side.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.adoption.gates import Discrepancy
from migration_assets.fhir.sent import sent_stream
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.manifest.switching import Touched
from migration_assets.mapping import Mapping
from migration_assets.medplum import DUPLICATE, EDITED, GONE, Fhir
from migration_assets.operations.rehearsing import Outlook, Rehearsal
from migration_assets.steps.handing_over import SUPERSEDED

_THEIRS = (EDITED, GONE, DUPLICATE, SUPERSEDED)
_MADE_UP = {"created": "missed", "deleted": "missed", "changed": "different"}
_AGREES = ("migrated", "unchanged")
_SAYS = {
    State.UNCHANGED: "agreed",
    State.PENDING: "unknown",
}
"""What a service's own FHIR of a record is worth, by how it stands; else it says something else."""
VERDICTS = ("missed", "different", "unknown", "left_out", "agreed")


@dataclass(frozen=True)
class Verdict:
    """What is said of one row that changed."""

    key: str
    said: str


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
    found = verdicts(manifest, fhir, adoption, mapping, since=since, among=among)
    counts = Counter(each.said for each in found)
    return Discrepancy(
        since=since,
        agreed=counts["agreed"],
        missed=counts["missed"],
        different=counts["different"],
        left_out=counts["left_out"],
        unknown=counts["unknown"],
    )


def verdicts(
    manifest: Manifest,
    fhir: Fhir | None,
    adoption: Adoption,
    mapping: Mapping[Any],
    *,
    since: datetime,
    among: Callable[[Iterable[int]], set[int]] = set,
) -> Iterator[Verdict]:
    """The same row by row, those of which something is said by name."""
    rehearsal = Rehearsal(manifest, fhir, adoption)
    for every in manifest.switching.touched(mapping.stream, since):
        meant = among(each.unit_id for each in every)
        page = [each for each in every if each.unit_id in meant]
        told = _told(manifest, mapping, page)
        yield from (Verdict(each.key, told[each.unit_id]) for each in page if each.unit_id in told)
        left = [each for each in page if each.unit_id not in told]
        settled = [each for each in left if each.state is not State.PENDING]
        yield from (Verdict(each.key, _settled(each)) for each in settled)
        pending = [each for each in left if each.state is State.PENDING]
        if fhir is None:
            yield from (Verdict(each.key, "unknown") for each in pending)
        else:
            chunks = _chunks(manifest, [each.unit_id for each in pending])
            for outlook in rehearsal.rehearse(mapping, chunks):
                yield Verdict(outlook.unit.key, _rehearsed(outlook))


def only_sent(
    manifest: Manifest, mapping: Mapping[Any], *, since: datetime
) -> Iterator[tuple[str, str]]:
    """What services sent as FHIR of which the legacy system has shown nothing, by type and key.

    Told by the key alone, which a mapping may make otherwise: to be looked at, and not counted.
    """
    for kind in mapping.types:
        for page in manifest.switching.touched(sent_stream(kind), since):
            keys = [each.key for each in page]
            rows = manifest.inbox.states(mapping.stream, keys)
            yield from ((kind, each) for each in keys if each not in rows)


def _told(manifest: Manifest, mapping: Mapping[Any], page: Sequence[Touched]) -> dict[int, str]:
    """What events tell of some rows, by unit."""
    made: dict[int, str] = {}
    events = manifest.inbox.told([each.unit_id for each in page])
    for each in page:
        event = events.get(each.unit_id)
        if event is None:
            continue
        if event.stands:
            made[each.unit_id] = "agreed" if event.read else "unknown"
        elif each.state is not State.PENDING and each.done and not each.done_now:
            made[each.unit_id] = _outcome(each)
    beside = _beside(manifest, mapping, [each for each in page if each.unit_id not in made])
    return made | beside


def _outcome(each: Touched) -> str:
    """Of a row that the puller landed otherwise, but had nothing to do about."""
    if each.reason in _THEIRS:
        return "different"
    return "agreed" if each.state.value in _AGREES else "left_out"


def _beside(manifest: Manifest, mapping: Mapping[Any], page: Iterable[Touched]) -> dict[int, str]:
    """What a service's own FHIR of the same record tells, where the puller wrote it itself."""
    names: dict[tuple[str, str], list[int]] = {}
    for each in page:
        if each.state is State.PENDING or _settled(each) not in ("missed", "different"):
            continue
        for token in each.tokens:
            kind, _system, key = token.split("|", 2)
            if kind in mapping.types:
                names.setdefault((kind, key), []).append(each.unit_id)
    made: dict[int, str] = {}
    for kind in mapping.types:
        keys = [key for one, key in names if one == kind]
        for key, state in manifest.inbox.states(sent_stream(kind), keys).items():
            made.update(dict.fromkeys(names[kind, key], _SAYS.get(state, "different")))
    return made


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
