"""Rehearsing: what a run would write, found out without writing anything anywhere.

Belongs here: units → what would become of them, and the sum of it. Does not belong here: mapping or
resolving themselves (``preparation``, ``resolution``), choosing the units, or showing the sum.

Types are rehearsed in load order: what one would create, the next may refer to. With Medplum at
hand its resources are looked up by identifier, and compared; without it, what the account does not
know counts as new.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made_by
from hashlib import blake2b
from typing import Any

from migration_assets.adoption import Adoption, Authority
from migration_assets.errors import Permanent
from migration_assets.fhir.references import with_references
from migration_assets.manifest import Manifest, Settlement, State, Unit
from migration_assets.manifest.payload import PURGED
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.mapping import Mapping as RowMapping
from migration_assets.mapping import Resource
from migration_assets.medplum import (
    DUPLICATE,
    EDITED,
    GONE,
    Fhir,
    Member,
    Pacer,
    content_print,
    find_by_identifier,
)
from migration_assets.medplum.conflicts import is_edit
from migration_assets.steps.cohorts import Admitted, admit, still_unsure
from migration_assets.steps.handing_over import prepare_claimed
from migration_assets.steps.preparation import Prepared, member_token
from migration_assets.steps.resolution import AWAITING, resolve, without_collisions
from migration_assets.steps.transforming import ask, bound

CHUNK = 500
EXAMPLES = 3
NOT_ASKED = "bot-not-asked"
"""What becomes of the row is a Bot's to say, and no Medplum is set, or it did not answer."""
_ON_ITS_WAY = "00000000-0000-4000-8000-000000000000"  # the id of what a run would create first


@dataclass(frozen=True)
class Outlook:
    """What would become of a unit; ``resources`` are (token, event) of each it has or would have.

    ``state`` is migrated where anything would be written. ``members`` are those that would be, with
    their references made literal as far as the targets exist.
    """

    unit: Unit
    state: State
    reason: str = ""
    field: str = ""
    resources: tuple[tuple[str, str], ...] = ()
    members: tuple[Member, ...] = ()
    held: Mapping[str, Resource] = made_by(default_factory=dict)
    """What Medplum holds of the members now, by token, as far as it was asked."""


@dataclass
class Rehearsed:
    """What would become of a type's rows: resources by type and event, rows by what and why."""

    resource_type: str
    rows: int = 0
    resources: Counter[tuple[str, str]] = made_by(default_factory=Counter)
    states: Counter[State] = made_by(default_factory=Counter)
    reasons: Counter[tuple[State, str, str]] = made_by(default_factory=Counter)
    keys: dict[tuple[State, str, str], list[str]] = made_by(default_factory=dict)

    def add(self, each: Outlook) -> None:
        """Count one more."""
        self.rows += 1
        self.states[each.state] += 1
        self.resources.update((name.split("|", 1)[0], event) for name, event in each.resources)
        if each.reason:
            why = (each.state, each.reason, each.field)
            self.reasons[why] += 1
            examples = self.keys.setdefault(why, [])
            if len(examples) < EXAMPLES:
                examples.append(each.unit.key)


class Rehearsal:
    """Looks at units of several types in turn, and remembers what would have been created."""

    def __init__(self, manifest: Manifest, fhir: Fhir | None, adoption: Adoption) -> None:
        self._manifest = manifest
        self._fhir = fhir
        self._adoption = adoption
        # A digest instead of the token: there may be millions.
        self._coming: dict[bytes, int] = {}

    def rehearse(
        self, mapping: RowMapping[Any], chunks: Iterable[Sequence[SettledUnit]]
    ) -> Iterator[Outlook]:
        """What would become of the units, as if all that is pending had been delivered before.

        Units that wait for others of the same type come last.
        """
        mapping = bound(mapping, self._manifest, self._fhir)
        waiting: list[Prepared] = []
        for chunk in chunks:
            asked = ask(mapping, [each.unit for each in chunk if not _stays(each)])
            silent = {each.id for each in asked.unanswered}
            yield from (Outlook(each, State.PENDING, NOT_ASKED) for each in asked.unanswered)
            known = [each for each in chunk if each.unit.id not in silent]
            tried = [each.unit for each in known if not _stays(each)]
            prepared = iter(prepare_claimed(self._manifest, mapping, tried, writes=False))
            made = [each if _stays(each) else next(prepared) for each in known]
            units = {each.unit.id: each.unit for each in chunk}
            yield from (_as_it_is(each) for each in made if isinstance(each, SettledUnit))
            yield from (
                _settled(units[each.unit_id], each) for each in made if isinstance(each, Settlement)
            )
            due = [each for each in made if isinstance(each, Prepared)]
            yield from self._looked_at(mapping, due, waiting)
        before = 0
        while waiting and len(waiting) != before:
            before, again, waiting = len(waiting), waiting, []
            yield from self._looked_at(mapping, again, waiting)
        yield from (
            Outlook(each.unit, State.QUARANTINED, AWAITING, self._missing(each)) for each in waiting
        )

    # -- what is on account, and what would be ----------------------------------------------------

    def owners(self, tokens: Iterable[str]) -> dict[str, int]:
        """Which unit owns each token, or would."""
        listed = list(tokens)
        coming = {
            name: self._coming[digest]
            for name in listed
            if (digest := _digest(name)) in self._coming
        }
        return coming | self._manifest.owners(listed)

    def known_ids(self, tokens: Iterable[str]) -> dict[str, str]:
        """Medplum ids by token; of what would be created by then, one that is nobody's."""
        listed = list(tokens)
        coming = {name: _ON_ITS_WAY for name in listed if _digest(name) in self._coming}
        return coming | self._manifest.known_ids(listed)

    # -- looking ------------------------------------------------------------------------------

    def _looked_at(
        self, mapping: RowMapping[Any], due: list[Prepared], waiting: list[Prepared]
    ) -> Iterator[Outlook]:
        by_unit = {each.unit.id: each for each in due}
        clear, collided = without_collisions(self, due)
        standing = self._adoption.standing(mapping.resource_type)
        admitted = Admitted(due=clear)
        if standing.cohorts:
            admitted = admit(self._manifest, mapping, standing, clear, rehearsing=True)
        ready, held = resolve(self, self._fhir or _NOTHING, admitted.due)
        for number, name in list(admitted.unsure.items()):  # what would be there by then tells it
            if name is not None and _digest(name) in self._coming:
                del admitted.unsure[number]
        ready, unsure = still_unsure(admitted, ready)
        for stopped in (*collided, *admitted.settlements, *held, *unsure):
            prepared = by_unit[stopped.unit_id]
            if stopped.reason == AWAITING and stopped.state is State.QUARANTINED:
                waiting.append(prepared)
            else:
                yield _settled(prepared.unit, stopped)
        found = self._found(member for each in ready for member in each.submission.members)
        for each in ready:
            authority = admitted.authorities.get(each.unit.id, standing.authority)
            outlook = self._outlook(each, found, authority)
            if outlook.state is not State.QUARANTINED:
                for name, event in outlook.resources:
                    if event == "created":
                        self._coming[_digest(name)] = each.unit.id
            yield outlook

    def _missing(self, prepared: Prepared) -> str:
        _ready, held = resolve(self, self._fhir or _NOTHING, [prepared])
        return next((each.field or "" for each in held), "")

    def _found(self, members: Iterable[Member]) -> dict[str, list[Resource]]:
        """What Medplum holds under the members' identifiers, by token."""
        if self._fhir is None:
            return {}
        by_kind: dict[str, list[Member]] = {}
        for each in members:
            by_kind.setdefault(each.resource_type, []).append(each)
        found: dict[str, list[Resource]] = {}
        for kind, listed in by_kind.items():
            pairs = [(each.system, each.value) for each in listed]
            matches = find_by_identifier(self._fhir, kind, pairs)
            found |= {member_token(m): matches[m.system, m.value] for m in listed}
        return found

    def _outlook(
        self,
        prepared: Prepared,
        found: Mapping[str, list[Resource]],
        authority: Authority | None,
    ) -> Outlook:
        members = prepared.submission.members
        literals = {m.reference: f"{m.resource_type}/{m.fhir_id}" for m in members if m.fhir_id}
        events: dict[str, str] = {
            name: "unchanged"
            for name in prepared.fingerprints
            if name not in {member_token(each) for each in members}
        }
        held: dict[str, Resource] = {}
        hindrance = ""
        for member in members:
            name = member_token(member)
            matches = found.get(name) if self._fhir is not None else None
            if matches is not None and len(matches) == 1:
                held[name] = matches[0]
            events[name] = _event(
                member, matches, literals.get, overwrites=authority is Authority.LEGACY
            )
            if events[name] in (EDITED, GONE, DUPLICATE):
                hindrance = events[name]
        if hindrance:
            return Outlook(prepared.unit, State.QUARANTINED, hindrance)
        wrote = any(event not in ("unchanged", "nothing") for event in events.values())
        state = State.MIGRATED if wrote else State.UNCHANGED
        return Outlook(
            prepared.unit,
            State.SKIPPED if prepared.left_out else state,
            prepared.left_out or "",
            "",
            tuple((name, event) for name, event in events.items() if event != "nothing"),
            members,
            held,
        )


def _event(
    member: Member,
    matches: list[Resource] | None,
    literal: Callable[[Any], str | None],
    *,
    overwrites: bool,
) -> str:
    """What would happen to one resource; ``matches`` is None where Medplum was not asked."""
    known = member.fhir_id is not None
    if matches is not None and len(matches) > 1:
        return DUPLICATE
    there = known if matches is None else bool(matches)
    if member.deletes:
        return "deleted" if there else "nothing"
    if not there:
        return GONE if known and not member.sent else "created"
    if not matches:
        return "changed"
    body = with_references(member.body or {}, literal)
    if member.create_only or content_print(body) == content_print(matches[0]):
        return "unchanged"
    return EDITED if known and is_edit(member, matches[0]) and not overwrites else "changed"


def _stays(each: SettledUnit) -> bool:
    """Whether nothing can be tried: a purged row is settled, and no run maps it again."""
    purged = each.unit.row is PURGED and not each.unit.deleted
    return each.held or (purged and each.state is not State.PENDING)


def _settled(unit: Unit, settlement: Settlement) -> Outlook:
    kept = (
        ()
        if settlement.state is not State.UNCHANGED
        else tuple((each.token, "unchanged") for each in unit.targets if not each.deleted)
    )
    return Outlook(unit, settlement.state, settlement.reason or "", settlement.field or "", kept)


def _as_it_is(each: SettledUnit) -> Outlook:
    return Outlook(each.unit, each.state, each.reason or "", each.field or "")


def _digest(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()


class _Nothing:
    """A Medplum that holds nothing, where none is set."""

    def __init__(self) -> None:
        self.pacer = Pacer()

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """A rehearsal writes nothing."""
        raise Permanent(f"A rehearsal was about to send {entries} entries, {len(body)} bytes.")

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """Nothing is found."""
        del resource_type, params
        return []

    def transactions_available(self) -> bool:
        """Nobody asks."""
        return True


_NOTHING = _Nothing()
