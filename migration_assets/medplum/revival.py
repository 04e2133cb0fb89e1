"""What was deleted by our own hand comes back under the id it had (pure).

Belongs here: how a submission is changed when what it writes to is gone. Does not belong here:
sending it. Whatever refers to a resource finds it again only under its old id (contract §7).
"""

from collections.abc import Collection
from dataclasses import replace

from migration_assets.medplum.bundles import Submission
from migration_assets.medplum.contents import DELETION


def revived(submission: Submission, absent: Collection[str | None]) -> Submission:
    """The same submission; what is ``absent`` by our own deletion comes back under its id."""
    return replace(
        submission,
        members=tuple(
            replace(each, fhir_id=None, version_id=None, former_id=each.fhir_id)
            if each.fhir_id is not None and each.fhir_id in absent
            else each
            for each in submission.members
        ),
    )


def without_own_dead(submission: Submission) -> Submission | None:
    """After 404 or 410: the submission for another try, if what is gone went by our own hand.

    What we had begun to delete is to come back under its id; where even that is unknown, because
    it was expunged, it is created anew.
    """
    ours = {m.fhir_id for m in submission.members if m.fhir_id and DELETION in m.sent}
    if ours:
        return revived(submission, ours)
    if any(each.fhir_id is None and each.former_id for each in submission.members):
        return replace(
            submission, members=tuple(replace(each, former_id=None) for each in submission.members)
        )
    return None
