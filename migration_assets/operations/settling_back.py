"""One change made in Medplum, on its way to the legacy system: written, or why it is not.

Belongs here: what is done about one debt, step by step, and what each step proves. Does not belong
here: finding debts (``seeing_changes``), which of them are due (``writing_back``), the way back
(``reversing``), requests (``legacy.writing``).

Each step may be the last one before a crash. That something is about to be sent is written down
before it is sent; whoever comes next reads the row first: if it is as it should be, it was written;
if it is as it was, it was not; if it is anything else, somebody edited it there, and both versions
stay until a person decides. So nothing is sent blindly, and nothing is written over unseen.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.legacy import PulledRow
from migration_assets.legacy.writing import Lies, RowWriter, Said, Told, without
from migration_assets.manifest import Lease, Manifest, Target, Unit
from migration_assets.manifest.payload import PURGED
from migration_assets.manifest.write_back_ends import Choice, Debt, Settled, WriteBack
from migration_assets.manifest.write_back_owners import Owned
from migration_assets.manifest.write_backs import Seen
from migration_assets.mapping import Mapping, Resource
from migration_assets.medplum import Fhir
from migration_assets.medplum.history import read_histories
from migration_assets.medplum.looking import Looker, version_of
from migration_assets.operations.reversing import NoWay, Way, way_back
from migration_assets.operations.seeing_changes import named
from migration_assets.operations.symbolic import Symbolic

TRIES = 4
"""Times that one debt is sent in one run; then it stays open for the next."""
EDITED = "edited-in-legacy"
DELETED = "deleted-in-legacy"
NOT_TAKEN = "not-taken"
"""Reason of a debt that stays open: the legacy system answered, and the row is as it was."""
_LOOKED_AT, _ASKED = 50, 5
PURGED_ROW = "payload-purged"
PART = "part-of-another"
"""Reason of a resource that a row yields only together with another one."""


@dataclass(frozen=True, kw_only=True)
class Clerk:
    """What settling debts of one mapping works with."""

    manifest: Manifest
    fhir: Fhir
    looker: Looker
    writer: RowWriter
    mapping: Mapping[Any]
    symbolic: Symbolic
    run_id: int
    lease: Lease
    sleep: Callable[[float], None] = time.sleep
    found: set[str] = field(default_factory=set)
    """Keys of rows that were found: as long as none was, a 404 may mean the path."""

    def read(self, key: str) -> Lies:
        """The row as it lies; that it is gone is believed once another one was found.

        Raises:
            Permanent: none of those on account is where the description says that rows are.
        """
        lies = self.writer.read(key)
        if lies.row is not None:
            self.found.add(key)
        elif not self.found:
            others = self.manifest.landed_units(self.mapping.stream, limit=_LOOKED_AT)
            living = [each.key for each in others if not each.deleted and each.key != key]
            self.found.update(each for each in living[:_ASKED] if self.writer.read(each).row)
            if living and not self.found:
                raise Permanent(
                    f"None of {len(living[:_ASKED])} rows of {self.mapping.stream} on account was "
                    "found one by one: look at write.path and write.select in the description. "
                    "Nothing was written."
                )
        return lies

    def end(
        self, debt: Debt, state: WriteBack, reason: str | None = None, **more: Any
    ) -> WriteBack:
        """Write down how a debt ends, with what goes along."""
        version = None if more.get("row") is None else self.mapping.version
        self.manifest.write_backs.settle(
            Settled(
                debt=debt,
                state=state,
                reason=reason,
                stream=self.mapping.stream,
                mapping_version=version,
                **more,
            ),
            run_id=self.run_id,
            lease=self.lease,
        )
        return state

    def same(self, one: Any, other: Any) -> bool:
        """Whether two rows say the same, apart from what the source keeps by itself."""
        kept = self.writer.kept_by_the_source
        return bool(_told(without(one, kept)) == _told(without(other, kept)))

    def unit(self, key: str | None) -> Unit | None:
        """The unit of a key, if its row is on account."""
        found = self.manifest.landed_units(self.mapping.stream, limit=1, keys=[key or ""])
        return found[0] if found else None


@dataclass(frozen=True)
class Found:
    """A debt's unit, its resource, and all that the unit owns."""

    unit: Unit
    own: Owned
    owned: list[Owned]


@dataclass(frozen=True)
class Aim:
    """What is to become of a row: how it is known to be so, and what to send until it is.

    ``otherwise`` is how the debt ends where nothing may be sent.
    """

    target: Target
    is_done: Callable[[Lies], bool]
    send: Callable[[Lies], Said]
    otherwise: tuple[WriteBack, str] | None = None


def settle_change(clerk: Clerk, debt: Debt) -> WriteBack:
    """Bring an edit to the row it is of."""
    found = found_for(clerk, debt)
    if isinstance(found, str):
        return clerk.end(debt, WriteBack.REFUSED, found)
    held = _content(clerk, debt, found)
    if isinstance(held, WriteBack):
        return held
    way = way_of(clerk, found, held)
    if isinstance(way, NoWay):
        state = WriteBack.SKIPPED if way.skipped else WriteBack.REFUSED
        return clerk.end(debt, state, way.reason, field=way.field or None)
    name, unit = found.own.target.token, found.unit
    target = target_of(name, debt.fhir_id, way, version_of(held[debt.fhir_id]))
    if not way.fields and not debt.sent and found.own.delivered:
        return clerk.end(debt, WriteBack.UNCHANGED, target=target)

    def write(lies: Lies) -> Said:
        row = {**(lies.row.row if lies.row else {}), **way.fields}
        return clerk.writer.write(unit.key, row, way.fields, lies)

    def is_done(lies: Lies) -> bool:
        return lies.row is not None and clerk.same(lies.row.row, way.row)

    deleted = None if held_of(clerk, [found.own]) else (WriteBack.SKIPPED, "deleted-in-medplum")
    return _until_done(clerk, debt, found, Aim(target, is_done, write, deleted))


def _content(clerk: Clerk, debt: Debt, found: Found) -> dict[str, Resource] | WriteBack:
    """What Medplum holds of the unit, with the version the debt is of; or how the debt stands.

    A debt that was never sent gives way to a newer version, or to the deletion. One that may have
    been sent is brought to its end first.
    """
    held = held_of(clerk, found.owned)
    now = version_of(held[debt.fhir_id]) if debt.fhir_id in held else None
    if now is None and not debt.sent:  # that is a debt of its own
        return WriteBack.OPEN
    if now != debt.version_id and not debt.sent:
        clerk.manifest.write_backs.note(debt.resource_type, [newer(debt, str(now))])
        return WriteBack.SKIPPED
    if now != debt.version_id:
        held = held | _as_it_was(clerk, debt)
    if debt.fhir_id not in held:
        return clerk.end(debt, WriteBack.CONFLICT, "not-in-history")
    return held


def settle_deletion(clerk: Clerk, debt: Debt) -> WriteBack:
    """Have the row of a deleted resource deleted."""
    found = found_for(clerk, debt)
    if isinstance(found, str):
        return clerk.end(debt, WriteBack.REFUSED, found)
    if held_of(clerk, [found.own]):
        return clerk.end(debt, WriteBack.SKIPPED, "living-again")
    if debt.resource_type != clerk.mapping.resource_type:
        return clerk.end(debt, WriteBack.REFUSED, PART)
    unit = found.unit
    aim = Aim(
        replace(found.own.target, version_id=None, deleted=True),
        lambda lies: lies.row is None,
        lambda lies: clerk.writer.delete(unit.key, lies),
        None if clerk.writer.deletes else (WriteBack.REFUSED, "deleting-not-described"),
    )
    return _until_done(clerk, debt, found, aim)


def _until_done(clerk: Clerk, debt: Debt, found: Found, aim: Aim) -> WriteBack:
    """Read, judge, send: until the row is as it should be, or it is known why it is not."""
    tries, ends = 0, aim.otherwise
    while True:
        lies = clerk.read(found.unit.key)
        if aim.is_done(lies):
            state = WriteBack.WRITTEN if debt.sent or tries else WriteBack.UNCHANGED
            unit = found.unit
            gone = PulledRow(unit.key, unit.row, None, deleted=True, problem=None)
            return clerk.end(debt, state, row=lies.row or gone, target=aim.target)
        reason = conflict_of(clerk, debt, found, lies)
        if reason is not None:
            row = lies.row if reason == EDITED else None
            return clerk.end(debt, WriteBack.CONFLICT, reason, row=row, target=aim.target)
        if ends is not None:
            return clerk.end(debt, *ends)
        if tries == TRIES:
            return clerk.end(debt, WriteBack.OPEN, NOT_TAKEN)
        said = send(clerk, debt, tries, lambda lies=lies: aim.send(lies))  # type: ignore[misc]  # the default binds the loop's own
        refused, tries = refusal(said), tries + 1
        ends = None if refused is None else (WriteBack.REFUSED, refused)


def conflict_of(clerk: Clerk, debt: Debt, found: Found, lies: Lies) -> str | None:
    """Why the row may not be written over; None if it is as it was, or as a person saw it.

    As it was: as the row on account, which Medplum holds. A row that was never delivered is an edit
    of the legacy system's as well.
    """
    if lies.row is None:
        return DELETED
    if lies.row.problem is not None or lies.row.key != found.unit.key:
        return lies.row.problem or "another-row"
    if found.unit.deleted or not clerk.same(lies.row.row, found.unit.row):
        return EDITED
    decided = debt.choice is Choice.MEDPLUM
    return None if found.own.delivered or decided else EDITED


def found_for(clerk: Clerk, debt: Debt) -> Found | str:
    """What a debt is about, or why that cannot be said."""
    unit = clerk.unit(debt.key)
    owned = clerk.manifest.write_backs.owners.of_unit(debt.unit_id or 0)
    own = next((each for each in owned if each.target.fhir_id == debt.fhir_id), None)
    if unit is None or own is None or own.stream != clerk.mapping.stream:
        return "not-of-this-stream"
    if unit.row is PURGED:  # its hash is on account: the row that has it still is that row
        lies = clerk.read(unit.key)
        if lies.row is None or not clerk.manifest.write_backs.stands(own.stream, lies.row):
            return PURGED_ROW
        unit = replace(unit, row=lies.row.row)
    return Found(unit, own, owned)


def send(clerk: Clerk, debt: Debt, tries: int, sending: Callable[[], Said]) -> Said:
    """Send something for a debt, once it is written down that it may arrive; then be patient."""
    clerk.manifest.write_backs.sending(debt, lease=clerk.lease)
    said = sending()
    if said.told is Told.UNSURE:
        clerk.sleep(clerk.writer.wait_before(tries + 1, said.asked))
    return said


def refusal(said: Said) -> str | None:
    """Why what was sent will never be taken, if that is what was said."""
    return f"legacy-{said.status}" if said.told is Told.REFUSED else None


def held_of(clerk: Clerk, owned: list[Owned]) -> dict[str, Resource]:
    """What Medplum holds of some resources, by id."""
    return clerk.looker.held(named(each) for each in owned)


def newer(debt: Debt, version: str) -> Seen:
    """A later version of what a debt is about, which holds its edit as well."""
    return Seen(
        fhir_id=debt.fhir_id,
        version_id=version,
        kind=debt.kind,
        unit_id=debt.unit_id,
        token=debt.token,
        key=debt.key,
        versions=[{"version": version}, *debt.versions],
    )


def _as_it_was(clerk: Clerk, debt: Debt) -> dict[str, Resource]:
    """The version of a debt that may have been sent: newer ones are debts of their own."""
    address = (debt.resource_type, debt.fhir_id)
    history = read_histories(clerk.fhir, clerk.looker, {address: debt.version_id})[address]
    found = [each.resource for each in history if each.version_id == debt.version_id]
    return {debt.fhir_id: found[0]} if found and found[0] is not None else {}


def way_of(clerk: Clerk, found: Found, held: dict[str, Resource]) -> Way | NoWay:
    """The row that says what Medplum holds of everything the unit owns."""
    ids = {str(each.target.fhir_id): each.target.token for each in found.owned}
    symbolic = clerk.symbolic.of(clerk.mapping, found.unit.row, list(held.values()))
    by_token = {ids[str(each["id"])]: each for each in symbolic}
    return way_back(clerk.mapping, found.unit.row, by_token)


def target_of(name: str, fhir_id: str, way: Way, version: str | None) -> Target:
    """The resource as it is on account once the row says the same."""
    return Target(
        name.split("|", 1)[0],
        name,
        fhir_id,
        version,
        way.prints.get(name),
        references=way.references.get(name, ()),
    )


def _told(row: Any) -> Any:
    """What a row says: a field that is null says no more than one that is not there."""
    if not isinstance(row, dict):
        return row
    return {name: each for name, each in row.items() if each is not None}
