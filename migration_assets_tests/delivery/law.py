"""The law: what Medplum holds by search is what the account says, and nothing is lost.

By search there is at most one resource per identifier of ours. Each is on account with its id and
version, unless somebody else wrote it last. Each living row's content is there as mapped, marks
included, or its unit says why not. Nothing is there that no row explains. An edit that must stay
has stayed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.fhir.references import find_references, parse_reference, without_items
from migration_assets.manifest import State, Unit, token
from migration_assets.mapping import Resource
from migration_assets.medplum import DELETION, EDITED, GONE, MedplumClient, content_print
from migration_assets.steps.resolution import AWAITING
from migration_assets_tests.delivery.account_now import Account, TargetNow, UnitNow
from migration_assets_tests.delivery.clinic import (
    STREAM_OF,
    TYPES,
    Living,
    World,
    made,
    marked_as_removed,
    token_of,
    wanted,
)
from migration_assets_tests.delivery.somebody import Somebody, codes

_CREATE_ONLY = "Location"
_MAY_FOLLOW = "valueReference"  # of a place to its founder


def held_by(client: MedplumClient) -> dict[str, Resource]:
    """What a search finds, by token; nothing may be there twice."""
    held: dict[str, Resource] = {}
    for kind in STREAM_OF:
        for each in client.search(kind, {}):
            (identifier,) = each["identifier"]
            name = token(kind, identifier["system"], identifier["value"])
            assert name not in held, f"{name} is there twice"
            held[name] = each
    return held


def nothing_counts_that_was_not_sent(account: Account, landed: Iterable[Unit]) -> None:
    """What is settled is settled for the row on account, even if that came in the meantime."""
    for unit in landed:
        state = account.units[unit.stream, unit.key].state
        if unit.deleted or state not in (State.MIGRATED.value, State.UNCHANGED.value):
            continue
        row = Living(unit.row, unit.archived, unit.merged_into)
        for name, resource in wanted(unit.stream, unit.key, row).items():
            ways = [e.way for e in find_references(resource) if _MAY_FOLLOW in e.way]
            sent = [fingerprint(each) for each in (resource, without_items(resource, ways))]
            done = resource["resourceType"] == _CREATE_ONLY or (
                account.targets[name].fingerprint in sent
            )
            assert done, f"a change of {name} counts as written and is not"


@dataclass(frozen=True)
class Law:
    """All that the law speaks of, as it stands after the quiet runs.

    ``landed`` are the rows on account, by stream and key; ``marks``: what is removed is kept.
    """

    world: World
    somebody: Somebody
    account: Account
    held: dict[str, Resource]
    landed: dict[tuple[str, str], dict[str, Any]]
    authority: str | None
    marks: bool

    def check(self) -> None:
        """Raises AssertionError where it is broken."""
        for row, unit in self.account.units.items():
            assert unit.state not in (State.PENDING.value, State.REJECTED.value), (row, unit)
            if unit.held_back:
                self._held_back_for_a_reason(row, unit)
            else:
                self._as_mapped(row, unit)
        assert self.world.living.keys() <= self.account.units.keys()
        for name, target in self.account.targets.items():
            self._on_account(name, target)
        self._nothing_else()
        self._edits_stayed()

    # -- units ----------------------------------------------------------------------------------

    def _held_back_for_a_reason(self, row: tuple[str, str], unit: UnitNow) -> None:
        targets = self._targets_of(row).values()
        found = {each["id"]: codes(each) for each in self.held.values()}
        reasons = {
            EDITED: self.authority != "legacy" and any(found.get(str(t.fhir_id)) for t in targets),
            GONE: any(t.fhir_id in self.somebody.deleted for t in targets),
            AWAITING: unit.awaiting not in self.held,
        }
        assert reasons.get(str(unit.reason)), (row, unit)

    def _as_mapped(self, row: tuple[str, str], unit: UnitNow) -> None:
        """Each resource of a row that is not held back is there, and no other."""
        due = self._kept(row) if unit.deleted else self.world.of(*row)
        assert unit.deleted or row in self.world.living, row
        targets = self._targets_of(row)
        for name, target in targets.items():
            assert target.deleted or name in due, f"{name} is left behind"
            assert target.deleted or target.fhir_id is not None, f"{name} was never confirmed"
        for name, resource in due.items():
            if unit.deleted and (name not in targets or targets[name].deleted):
                continue  # a note that was taken back before
            self._is_there(name, resource, targets.get(name))

    def _is_there(self, name: str, resource: Resource, target: TargetNow | None) -> None:
        assert target is not None, f"{name} is lost"
        assert not target.deleted, f"{name} is lost"
        assert self._attempted(name, target), f"no attempt tells of {name}"
        found = self.held.get(name)
        kind = resource["resourceType"]
        variants = self._variants(resource)
        if found is not None and found["id"] == target.fhir_id:
            kept = self._symbolic({n: v for n, v in found.items() if n not in ("id", "meta")})
            right = self.world.ever[name] if kind == _CREATE_ONLY else variants
            if not codes(found) and kept in map(self._symbolic, right):
                return
            assert codes(found), f"{name} is not as mapped"
        else:
            assert target.fhir_id in self.somebody.deleted, f"{name} is lost"
        # Somebody else wrote or deleted it, and since then there was nothing for us to write.
        due = target.fingerprint not in [fingerprint(each) for each in variants]
        assert kind == _CREATE_ONLY or not due, f"a change of {name} is lost"

    def _variants(self, resource: Resource) -> list[Resource]:
        """As mapped; without its back-reference as well, where that leads nowhere."""
        following = [each for each in find_references(resource) if _MAY_FOLLOW in each.way]
        if all(self._name(each.target.text) in self.held for each in following):
            return [resource]
        return [resource, without_items(resource, [each.way for each in following])]

    def _kept(self, row: tuple[str, str]) -> dict[str, Resource]:
        """What is left of a deleted row: nothing, or its resources with the policy's mark.

        The row that was landed before its deletion says what they hold.
        """
        if not self.marks or row[0] == STREAM_OF[_CREATE_ONLY]:
            return {}
        if all(each.deleted for each in self._targets_of(row).values()):
            return {}  # never delivered, or left out before it was deleted
        return {
            token_of(each["resourceType"], row[1]): marked_as_removed(each)
            for each in made(row[0], self.landed[row])
        }

    def _targets_of(self, row: tuple[str, str]) -> dict[str, TargetNow]:
        names = [token_of(kind, row[1]) for kind in TYPES[row[0]]]
        return {each: self.account.targets[each] for each in names if each in self.account.targets}

    # -- targets --------------------------------------------------------------------------------

    def _on_account(self, name: str, target: TargetNow) -> None:
        """What is said to be there is there: that one, in that version."""
        found = self.held.get(name)
        if target.deleted or target.fhir_id is None:
            return  # whatever is found all the same, ``_nothing_else`` asks about
        if found is None or found["id"] != target.fhir_id:
            # Deleted by a run that died, and the row that came back waits for a target.
            begun = DELETION in target.sent and self._unit_of(name).held_back
            assert begun or target.fhir_id in self.somebody.deleted, f"{name} is lost"
            return
        # A unit that is held back may have been written by a run that died before the answer.
        same = found["meta"]["versionId"] == target.version_id
        known = same or content_print(found) in target.sent
        assert known or codes(found), f"{name} has a version nobody knows of"

    def _nothing_else(self) -> None:
        for name, found in self.held.items():
            target = self.account.targets.get(name)
            ours = target is not None and not target.deleted and target.fhir_id == found["id"]
            sent = target is not None and target.fhir_id is None and self._unit_of(name).held_back
            assert ours or sent or found["id"] in self.somebody.created, f"nobody's: {name}"

    def _unit_of(self, name: str) -> UnitNow:
        kind, _system, key = name.split("|")
        return self.account.units[STREAM_OF[kind], key]

    def _attempted(self, name: str, target: TargetNow) -> bool:
        known = (name, target.fhir_id, target.version_id)
        return any((a.token, a.fhir_id, a.version_id) == known for a in self.account.attempts)

    # -- edits ----------------------------------------------------------------------------------

    def _edits_stayed(self) -> None:
        for name, (fhir_id, code) in self.somebody.guarded.items():
            found = self.held.get(name)
            there = found is not None and found["id"] == fhir_id and code in codes(found)
            assert there, f"an edit of {name} was written over"

    # -- references -----------------------------------------------------------------------------

    def _symbolic(self, node: Any) -> Any:
        """With every reference by token, whether it is literal or not."""
        if isinstance(node, dict):
            return {
                key: self._name(value) if key == "reference" else self._symbolic(value)
                for key, value in node.items()
            }
        return [self._symbolic(each) for each in node] if isinstance(node, list) else node

    def _name(self, text: str) -> str:
        """Whose id a reference tells; itself, where it leads past a resource of ours."""
        conditional = parse_reference(text)
        if conditional is not None:
            return token(conditional.resource_type, conditional.system, conditional.value)
        kind, _slash, fhir_id = text.partition("/")
        name = next((name for name, known in self._ids() if known == (kind, fhir_id)), text)
        return text if self._leads_past(name, fhir_id) else name

    def _leads_past(self, name: str, fhir_id: str) -> bool:
        """Whether we hold the one that is meant under another id than the one referred to.

        What somebody else deleted or replaced may be referred to: nobody can lead there, or
        nothing told us to.
        """
        found, target = self.held.get(name), self.account.targets.get(name)
        if found is None or target is None or target.fhir_id != found["id"]:
            return False
        return bool(found["id"] != fhir_id)

    def _ids(self) -> Iterable[tuple[str, tuple[str, str | None]]]:
        """Every id that anything of ours or somebody's ever had, with its token."""
        for name, found in self.held.items():
            yield name, (name.split("|")[0], found["id"])
        for each in self.account.attempts:
            yield each.token, (each.token.split("|")[0], each.fhir_id)
        for fhir_id, name in self.somebody.created.items():
            yield name, (name.split("|")[0], fhir_id)
