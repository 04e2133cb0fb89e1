"""Conflicts: whose was the write in between, and what follows from that (pure).

Belongs here: what a 412 on If-Match means once Medplum was looked at. Does not belong here:
looking, or sending again.

A run that died after Medplum's answer comes back with the old version in its If-Match. If Medplum
holds just what we want to write, that is it; if it holds what we once sent, we go on from there,
as we do if it is gone and we had begun to delete it. All else is an edit made in Medplum: the
type's write authority decides, and an edit is never overwritten without being written down.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from migration_assets.fhir.references import ConditionalReference, with_references
from migration_assets.mapping import Resource
from migration_assets.medplum.answers import EDITED, GONE, Answer, Delivered, Verdict
from migration_assets.medplum.bundles import Member, Submission
from migration_assets.medplum.contents import DELETION, content_print, stripped
from migration_assets.medplum.looking import version_of
from migration_assets.medplum.revival import revived

Authority = Literal["legacy", "medplum"]
"""Who owns the truth of a type: whose write wins when both were made."""


def examine(
    submission: Submission,
    answers: list[Answer],
    held: Mapping[str, Resource],
    *,
    authority: Authority | None,
) -> Delivered | Submission:
    """The end of a submission that met a 412 on If-Match, or the submission to send again."""
    literals = {m.reference: f"{m.resource_type}/{m.fhir_id}" for m in submission.members}
    edited: set[str] = set()
    wanted = True
    for member in submission.members:
        if member.fhir_id is None or member.deletes:
            wanted = False
            continue
        found = held.get(member.fhir_id)
        if found is None:
            if DELETION not in member.sent and not member.patch:
                return Delivered(submission, Verdict.HELD, tuple(answers), reason=GONE)
            wanted = False
            continue
        if _is_there(member, found, literals.get):
            continue
        wanted = False
        if is_edit(member, found):
            edited.add(member.fhir_id)
    if wanted:
        return _confirmed(submission, answers, held)
    if edited and authority != "legacy":
        return edited_in_medplum(submission, answers, held, edited)
    return _again(submission, held, edited)


def is_edit(member: Member, found: Resource) -> bool:
    """Whether Medplum holds neither the version on account nor anything we ever sent."""
    return version_of(found) != member.version_id and content_print(found) not in member.sent


def _is_there(
    member: Member, found: Resource, literal: Callable[[ConditionalReference], str | None]
) -> bool:
    if member.patch:
        return all(found.get(name) == value for name, value in member.patch.items())
    body = with_references(member.body or {}, literal)
    return stripped(body) == stripped(found)


def _confirmed(
    submission: Submission, answers: list[Answer], held: Mapping[str, Resource]
) -> Delivered:
    confirmed = tuple(
        replace(
            each,
            event="confirmed",
            fhir_id=each.member.fhir_id,
            version_id=version_of(held[str(each.member.fhir_id)]),
        )
        for each in answers
    )
    return Delivered(submission, Verdict.WRITTEN, confirmed)


def _again(submission: Submission, held: Mapping[str, Resource], edited: set[str]) -> Submission:
    located = {
        m.reference: (m.fhir_id, version_of(held[m.fhir_id]))
        for m in submission.members
        if m.fhir_id is not None and m.fhir_id in held
    }
    absent = {m.fhir_id for m in submission.members if m.body} - held.keys()
    again = revived(submission.locate(located), absent)
    return replace(
        again,
        members=tuple(
            replace(each, overwrites=each.overwrites or each.fhir_id in edited)
            for each in again.members
        ),
    )


def edited_in_medplum(
    submission: Submission,
    answers: list[Answer],
    held: Mapping[str, Resource],
    edited: set[str],
) -> Delivered:
    """Held, with the version we knew and the one that is there; both are in the answers."""
    ours = [replace(each, version_id=each.member.version_id) for each in answers]
    theirs = [
        Answer(
            member,
            "SEARCH",
            "",
            index,
            "200",
            "edit-found",
            fhir_id=member.fhir_id,
            version_id=version_of(held[member.fhir_id]),
        )
        for index, member in enumerate(submission.members)
        if member.fhir_id is not None and member.fhir_id in edited
    ]
    return Delivered(submission, Verdict.HELD, (*ours, *theirs), reason=EDITED)
