"""Redelivering: units that did not arrive become debts again, because a person said so.

Belongs here: what must be known of Medplum before that, and what is refused. Does not belong here:
writing it down (``manifest.decisions``), or delivering what is pending (``pipeline``).
"""

from collections.abc import Iterable
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.manifest import Decision, Redelivered, Selection
from migration_assets.manifest.decisions import Gone
from migration_assets.mapping import Mapping
from migration_assets.run import Run
from migration_assets.steps.pausing import refuse_paused

_AT_ONCE = 500  # ids of one search


def redeliver(
    run: Run, mappings: Iterable[Mapping[Any]], selection: Selection, decision: Decision
) -> Redelivered:
    """Make the chosen units pending again; ``mappings`` are those of their streams.

    Where the decision overwrites, what was deleted in Medplum comes back under its id, and an edit
    is written over if it is still the version that was found.

    Raises:
        Permanent: a stream is paused, a key means nothing, or Medplum has to be asked and cannot.
    """
    due = run.manifest.decisions.due(selection)
    for each in mappings:
        if each.stream in due.by_stream:
            refuse_paused(run, each)
    gone = _gone(run, selection) if decision.overwrites else []
    return run.manifest.decisions.redeliver(selection, decision, gone=gone)


def _gone(run: Run, selection: Selection) -> list[Gone]:
    """Those resources of the chosen units that Medplum really does not hold.

    A unit may own several, of which one was deleted: the others are not to be written over blindly.
    """
    suspected = run.manifest.decisions.maybe_gone(selection)
    if not suspected:
        return []
    if run.fhir is None:
        raise Permanent(
            "Writing again what was deleted in Medplum was refused: Medplum must be asked what is "
            "still there, and no credentials are set. Set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and "
            "MEDPLUM_CLIENT_SECRET."
        )
    held: set[tuple[str, str]] = set()
    for kind in sorted({each.resource_type for each in suspected}):
        ids = [each.fhir_id for each in suspected if each.resource_type == kind]
        for start in range(0, len(ids), _AT_ONCE):
            some = {"_id": ",".join(ids[start : start + _AT_ONCE])}
            held.update((kind, str(found["id"])) for found in run.fhir.search(kind, some))
    return [each for each in suspected if (each.resource_type, each.fhir_id) not in held]
