"""Packing: what each submission needs sent, decided before the first bundle leaves.

Belongs here: what is done already, what must wait for a person, and whether a group goes out at
once or member by member. Does not belong here: writing an entry (``bundles``), or sending it.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace

from migration_assets.fhir.references import ConditionalReference
from migration_assets.medplum.answers import Answer, Delivered, Verdict
from migration_assets.medplum.bundles import Member, Packed, Submission, pack, too_large
from migration_assets.medplum.client import Fhir
from migration_assets.medplum.conflicts import Authority, edited_in_medplum, is_edit
from migration_assets.medplum.looking import Looker
from migration_assets.medplum.parts import Parts, in_order

NEEDS_TRANSACTIONS = "needs-transaction-bundles"
"""Reason of a group whose members refer to each other in a circle, in a project whose feature
transaction-bundles is off: no order of single writes will do (see ``check``)."""

COLLISION = "identifier-collision"
"""Reason of a submission whose identifier another one of the same delivery writes already."""


class Packer:
    """Packs the submissions of one delivery; ``parts`` are those that take several steps."""

    def __init__(
        self,
        fhir: Fhir,
        looker: Looker,
        *,
        exclusive: bool,
        authority: Authority | None,
        new_uuid: Callable[[], uuid.UUID],
    ) -> None:
        self._fhir = fhir
        self._looker = looker
        self._exclusive = exclusive
        self._authority = authority
        self._new_uuid = new_uuid
        self._atomic: bool | None = None
        self.parts = Parts()
        self.groups_apart = 0

    def pack_all(self, submissions: Iterable[Submission]) -> tuple[list[Packed], list[Delivered]]:
        """What is to be sent, and what has come to its end without that."""
        packed: list[Packed] = []
        ended: list[Delivered] = []
        claimed = set[ConditionalReference]()
        for each in self._unedited(list(submissions), ended):
            wanted = {m.reference for m in each.members if m.body is not None}
            if wanted & claimed:  # as plain creates they would be two (contract §4)
                ended.append(Delivered(each, Verdict.HELD, reason=COLLISION))
                continue
            claimed |= wanted
            first = self._first(each)
            if isinstance(first, Delivered):
                ended.append(first)
            elif too_large(first):
                ended.append(Delivered(each, Verdict.HELD, reason="resource-too-large"))
            else:
                packed.append(first)
        return packed, ended

    def pack(self, submission: Submission) -> Packed:
        """One submission, by the type's strategy."""
        return pack(submission, exclusive=self._exclusive, new_uuid=self._new_uuid)

    def repack(self, packed: list[Packed]) -> list[Packed]:
        """Look again for members without an id, and send what is still unknown conditionally.

        A lost race, or an answer that got lost, may have created them: plain POST would double.
        """
        if not packed:
            return []
        located, _held = self._looker.located([each.submission for each in packed])
        by_unit = {each.unit: each for each in located}
        return [
            pack(
                by_unit.get(each.submission.unit, each.submission),
                exclusive=False,
                new_uuid=self._new_uuid,
            )
            for each in packed
        ]

    def _first(self, submission: Submission) -> Packed | Delivered:
        """The first entry of a submission, which is the only one unless it takes several steps."""
        members = tuple(m for m in submission.members if not _is_done(m))
        found = [_found(m) for m in submission.members if m.create_only and m.fhir_id is not None]
        if not members:
            return Delivered(submission, Verdict.WRITTEN, tuple(found))
        whole = len(members) == len(submission.members)
        one = self.pack(submission if whole else replace(submission, members=members))
        if one.nested and (one.beyond_transaction or not self._transactions()):
            return self._apart(submission, members, found)
        return self.pack(self.parts.begin(submission, [members], found)) if found else one

    def _transactions(self) -> bool:
        if self._atomic is None:
            self._atomic = self._looker.patiently(self._fhir.transactions_available)
        return self._atomic

    def _apart(
        self, group: Submission, members: tuple[Member, ...], found: list[Answer]
    ) -> Packed | Delivered:
        """The first step of a group that goes out member by member (contract §0, §6).

        Sent as one, Medplum would take it for a batch, or refuse it: neither is a group.
        """
        ordered = in_order(replace(group, members=members))
        if ordered is None:
            return Delivered(group, Verdict.HELD, reason=NEEDS_TRANSACTIONS)
        steps = [(member,) for member in ordered]
        if any(too_large(self.pack(Submission(group.unit, step))) for step in steps):
            return Delivered(group, Verdict.HELD, reason="resource-too-large")
        self.groups_apart += 1
        return self.pack(self.parts.begin(group, steps, found))

    def _unedited(self, submissions: list[Submission], ended: list[Delivered]) -> list[Submission]:
        """Hold back deletions of what was edited; only a look guards them (contract §7)."""
        if self._authority != "medplum":
            return submissions
        deletions = [m for each in submissions for m in each.members if m.deletes and m.version_id]
        held = self._looker.held(deletions)
        edited = {
            m.fhir_id
            for m in deletions
            if m.fhir_id is not None and m.fhir_id in held and is_edit(m, held[m.fhir_id])
        }
        clear: list[Submission] = []
        for each in submissions:
            mine = edited.intersection(m.fhir_id or "" for m in each.members if m.deletes)
            if mine:
                ended.append(edited_in_medplum(each, [], held, mine))
            else:
                clear.append(each)
        return clear


def _is_done(member: Member) -> bool:
    """Whether nothing needs sending: deleting what Medplum does not hold, creating what it does."""
    if member.fhir_id is None:
        return member.body is None
    return member.create_only


def _found(member: Member) -> Answer:
    """The answer for what is only ever created, and is there."""
    return Answer(
        member,
        "SEARCH",
        "",
        0,
        "200",
        "found",
        fhir_id=member.fhir_id,
        version_id=member.version_id,
    )
