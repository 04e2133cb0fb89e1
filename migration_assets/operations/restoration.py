"""Restoration: from what a run wrote and what Medplum holds now to what must be sent (pure).

Belongs here: what each resource was before, whether it may be put back, and the write that does.
Does not belong here: asking Medplum, sending, or the account (``undoing``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migration_assets.manifest import Attempt, Target
from migration_assets.manifest.history import Written
from migration_assets.mapping import Resource
from migration_assets.medplum import EDITED, NOT_WRITTEN, Answer, Member
from migration_assets.medplum.contents import DELETION, content_print, stripped
from migration_assets.medplum.history import Version

NOT_IN_HISTORY = "not-in-history"
"""Medplum does not keep the version that is to be restored: it was expunged."""
TAKEN = "identifier-taken"
"""Another resource carries the identifier of the deleted one by now: back, it would be a double."""

_EVENTS = {
    # (was there before, was there after): what was undone
    (False, True): "undone-created",
    (False, False): "undone-created",
    (True, True): "undone-changed",
    (True, False): "undone-deleted",
}


@dataclass(frozen=True)
class Step:
    """How one resource becomes what it was; without a member Medplum holds it so already."""

    written: Written
    event: str
    member: Member | None
    version_id: str | None = None

    @property
    def target(self) -> Target:
        """The resource as it stands once the step is done and nothing needed sending."""
        return _target(self.written, self.version_id)

    @property
    def intended(self) -> Target | None:
        """What is about to be sent, by its print: should its answer get lost, it is known as ours.

        None where nothing needs sending.
        """
        if self.member is None:
            return None
        deletes = self.member.deletes
        sent = DELETION if deletes else content_print(self.member.body or {})
        kind = self.member.resource_type
        return Target(kind, self.written.token, sent=frozenset({sent}))

    @property
    def attempt(self) -> Attempt:
        """The look that found nothing to do."""
        return Attempt(
            self.written.token,
            "SEARCH",
            "",
            0,
            "200",
            self.event,
            fhir_id=self.written.fhir_id,
            version_id=self.version_id,
        )


def of_created(written: Written, held: Resource | None) -> Step | str:
    """The step for what the run created, or why there is none; ``held`` was found by its id."""
    event = "undone-created"
    if held is None:
        return Step(written, event, None)
    version = (held.get("meta") or {}).get("versionId")
    if version != written.expected:
        return EDITED
    return Step(written, event, _member(written, None, version))


def of_history(written: Written, versions: Sequence[Version]) -> Step | str:
    """The step for what was there before the run, by its versions, newest first."""
    before = _before(written, versions)
    if before is None:
        return NOT_IN_HISTORY
    now = versions[0]
    was_there = before.resource is not None
    alike = _alike(now.resource, before.resource)
    ours = now.version_id == written.expected
    if not ours and not alike:
        return EDITED
    event = _EVENTS[was_there, written.expected is not None]
    if alike:
        return Step(written, event, None, now.version_id)
    return Step(written, event, _member(written, before.resource, now.version_id))


def _before(written: Written, versions: Sequence[Version]) -> Version | None:
    """The state before the run's first write; a trace of deletion if there was nothing."""
    older = list(versions)
    if written.first_version is not None:
        ids = [each.version_id for each in versions]
        if written.first_version not in ids:
            return None
        older = older[ids.index(written.first_version) + 1 :]
    if written.first_event == "deleted":  # what the run deleted first of all had been there
        return next((each for each in older if each.resource is not None), None)
    return older[0] if older else None


def _alike(one: Resource | None, other: Resource | None) -> bool:
    if one is None or other is None:
        return one is other
    return content_print(one) == content_print(other)


def _member(written: Written, body: Resource | None, now: str | None) -> Member:
    """The write: a deletion, the old content over ``now``, or the deleted one back at its id."""
    kind, system, value = written.token.split("|", 2)
    content = None if body is None else stripped(body)
    if now is None:
        return Member(kind, system, value, content, former_id=written.fhir_id)
    return Member(kind, system, value, content, written.fhir_id, now)


def told(step: Step, answer: Answer) -> tuple[Attempt, Target | None]:
    """An answer as an attempt, and the target it confirms, if it wrote anything."""
    wrote = answer.event not in NOT_WRITTEN
    version = None if answer.member.deletes else answer.version_id
    attempt = Attempt(
        step.written.token,
        answer.method,
        answer.bundle,
        answer.entry,
        answer.status,
        step.event if wrote else answer.event,
        answer.outcome,
        answer.fhir_id,
        version,
    )
    return attempt, _target(step.written, version, answer.fhir_id) if wrote else None


def _target(written: Written, version: str | None, fhir_id: str | None = None) -> Target:
    """Without a fingerprint: no row counts as unchanged against what was restored."""
    kind: Any = written.token.split("|", 1)[0]
    return Target(kind, written.token, fhir_id or written.fhir_id, version, deleted=version is None)
