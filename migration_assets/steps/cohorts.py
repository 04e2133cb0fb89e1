"""Which cohort a row is in, and what follows for its delivery; asked only where some are declared.

Belongs here: telling membership out of the account, rows that moved from one cohort to another,
and the notes of who was where. Does not belong here: what a cohort is and what its phase permits
(``adoption``), or the order of steps (``pipeline``).

An organization is told as in ``reconciliation.cohort``: the row's resources name it or are it, or
name something on account that does: one step. Whom the step leads to counts as it was delivered,
for so Medplum has it. A patient or encounter that is not on account leaves it open: such a row
waits.

Where a row is in another cohort than it was, and Medplum owns one of the two, whatever we write may
be written over people's work, and whatever we leave may lose a change of the clinic's. So a person
decides: a redelivery sends the row on, by the cohort it is in now.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from migration_assets.adoption import Authority, Standing
from migration_assets.adoption.cohorts import UNKNOWN, Traits, told
from migration_assets.fhir.references import find_references
from migration_assets.manifest import Manifest, Settlement, State, Unit, token
from migration_assets.manifest.cohorts import MOVED, NOT_OURS, REHEARSED, Fact
from migration_assets.mapping import Mapping
from migration_assets.medplum import Fhir
from migration_assets.steps.preparation import Prepared, mapped, settled
from migration_assets.steps.resolution import resolve

_AT_ONCE = 500
_NO_FACT = Fact(None, None, sent_on=False)  # of a row that did not land, but is rehearsed
_TELLING = ("Patient", "Encounter")
"""Types without which it cannot be told whose a row is; others are looked at if they are there."""


@dataclass
class Admitted:
    """What of some units may go out, and what becomes of the others.

    ``unsure``, by unit: the token without which nobody knows its cohort. ``notes`` are to be kept
    before anything is sent.
    """

    due: list[Prepared] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    authorities: dict[int, Authority | None] = field(default_factory=dict)
    unsure: dict[int, str | None] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Named:
    """What a unit's resources name: keys of organizations, and others by token."""

    organizations: frozenset[str]
    others: tuple[str, ...]
    readable: bool = True


def admit(
    manifest: Manifest,
    mapping: Mapping[Any],
    standing: Standing,
    due: Sequence[Prepared],
    *,
    rehearsing: bool = False,
) -> Admitted:
    """Sort what is about to be sent by the cohorts of a type; reads only.

    ``rehearsing``: what a cohort in rehearse would get is to be seen as well.
    """
    units = [each.unit for each in due]
    facts = manifest.cohorts.facts((each.id for each in units), standing.declaration)
    places = _places(manifest, standing, units, facts, _named(manifest, mapping, units))
    made = Admitted()
    for each in due:
        cohort, problem, missing = places[each.unit.id]
        fact = facts.get(each.unit.id, _NO_FACT)
        if problem == UNKNOWN and fact.noted is not None:
            cohort, problem = fact.noted, ""  # as it was: its row says nothing now
        if problem == UNKNOWN:
            made.due.append(each)
            made.unsure[each.unit.id] = missing
        elif problem:
            made.settlements.append(_held(each, problem))
        else:
            _sort(made, standing, each, fact, cohort, rehearsing=rehearsing)
    return made


def _sort(
    made: Admitted,
    standing: Standing,
    each: Prepared,
    fact: Fact,
    cohort: str,
    *,
    rehearsing: bool,
) -> None:
    """One unit whose cohort is known."""
    owned = standing.owned_cohorts
    was = cohort if fact.noted is None else fact.noted
    moved = was != cohort and (was in owned or cohort in owned)
    if moved and _in_medplum(each.unit) and not fact.sent_on:
        made.settlements.append(_held(each, MOVED, f"{was or '-'}>{cohort or '-'}"))
        return
    made.notes[each.unit.id] = cohort
    reason = left_out(standing).get(cohort)
    if reason is None or (reason == REHEARSED and rehearsing):
        made.due.append(each)
        made.authorities[each.unit.id] = _part(standing, cohort).authority
        return
    version = each.mapping_version
    made.settlements.append(settled(each.unit, State.SKIPPED, version, reason=reason, field=cohort))


def left_out(standing: Standing) -> dict[str, str]:
    """Why nothing is delivered of parts of a type that is delivered, by name; the empty: of none.

    A type without cohorts has no parts: what is not delivered of it stays pending.
    """
    if not standing.cohorts:
        return {}
    parts = {name: _part(standing, name) for name in ("", *(e.name for e in standing.cohorts))}
    return {
        name: NOT_OURS if part.owned_by_medplum else REHEARSED
        for name, part in parts.items()
        if not part.may_deliver
    }


def _part(standing: Standing, cohort: str) -> Standing:
    return standing.of(standing.cohort(cohort) if cohort else None)


def by_cohort(
    manifest: Manifest,
    fhir: Fhir,
    mapping: Mapping[Any],
    standing: Standing,
    due: list[Prepared],
) -> tuple[dict[Authority | None, list[Prepared]], list[Settlement]]:
    """What of a type with cohorts may go out, by who wins in conflicts; and what is held for now.

    Who is where is written down before anything is sent: where it was is needed once it moves.
    """
    admitted = admit(manifest, mapping, standing, due)
    ready, awaiting = resolve(manifest, fhir, admitted.due)
    sure, unsure = still_unsure(admitted, ready)
    manifest.cohorts.note(admitted.notes, standing.declaration)
    found: dict[Authority | None, list[Prepared]] = defaultdict(list)
    for each in sure:
        found[admitted.authorities[each.unit.id]].append(each)
    return found, [*admitted.settlements, *awaiting, *unsure]


def still_unsure(
    admitted: Admitted, ready: Sequence[Prepared]
) -> tuple[list[Prepared], list[Settlement]]:
    """Of what could go out, hold what nobody knows the cohort of.

    Asked after references were resolved: who waits for a patient waits for that.
    """
    sure = [each for each in ready if each.unit.id not in admitted.unsure]
    held = [
        settled(
            each.unit,
            State.QUARANTINED,
            each.mapping_version,
            reason=UNKNOWN,
            awaiting=admitted.unsure[each.unit.id],
        )
        for each in ready
        if each.unit.id in admitted.unsure
    ]
    return sure, held


def note_all(
    manifest: Manifest, mapping: Mapping[Any], standing: Standing, *, live: bool = False
) -> None:
    """Note of every unit of a type in which cohort it is, where nothing is noted yet.

    Before rows land that change it: of what Medplum holds it must be known where it was. ``live``:
    those alone, and once for each declaration.
    """
    if not standing.cohorts:
        return
    declaration = standing.declaration
    name = f"cohorts noted of {mapping.stream}"
    if live:
        with manifest.ledger(name) as page:
            if page.text == declaration:
                return
    after = 0
    while numbers := manifest.cohorts.unnoted(
        mapping.stream, declaration, after_id=after, limit=_AT_ONCE, live=live
    ):
        after = numbers[-1]
        manifest.cohorts.note(cohorts_of(manifest, mapping, standing, numbers), declaration)
    with manifest.ledger(name) as page:
        page.write(declaration)


def cohorts_of(
    manifest: Manifest, mapping: Mapping[Any], standing: Standing, numbers: Sequence[int]
) -> dict[int, str]:
    """In which cohort units are, or were when it was last noted; those left out cannot be told."""
    facts = manifest.cohorts.facts(numbers, standing.declaration)
    made = {number: fact.noted for number, fact in facts.items() if fact.noted is not None}
    others = [
        each.unit
        for each in manifest.remapping.settled([one for one in numbers if one not in made])
    ]
    as_delivered = dict(_delivered(manifest, others))
    rows = [each for each in others if not as_delivered[each.id].readable]
    named = as_delivered | _named(manifest, mapping, rows)
    places = _places(manifest, standing, others, facts, named)
    return made | {number: name for number, (name, problem, _) in places.items() if not problem}


def owned_units(
    manifest: Manifest, mapping: Mapping[Any], standing: Standing, numbers: Iterable[int]
) -> set[int]:
    """Those of some units that are Medplum's, or may be: nothing of ours may write them."""
    listed = sorted(set(numbers))
    if not standing.cohorts or not standing.owned_cohorts:
        return set()
    known, owned = cohorts_of(manifest, mapping, standing, listed), standing.owned_cohorts
    return {each for each in listed if each not in known or known[each] in owned}


def _held(prepared: Prepared, reason: str, element: str | None = None) -> Settlement:
    unit, version = prepared.unit, prepared.mapping_version
    return settled(unit, State.QUARANTINED, version, reason=reason, field=element)


def _in_medplum(unit: Unit) -> bool:
    """Whether Medplum holds anything of it, or may."""
    return any(not each.deleted and (each.fhir_id or each.sent) for each in unit.targets)


def _places(
    manifest: Manifest,
    standing: Standing,
    units: Sequence[Unit],
    facts: dict[int, Fact],
    named: dict[int, _Named],
) -> dict[int, tuple[str, str, str | None]]:
    """By unit: its cohort, or why that cannot be told, and what is missing for it."""
    beyond = _beyond(manifest, (name for each in named.values() for name in each.others))
    made: dict[int, tuple[str, str, str | None]] = {}
    for unit in units:
        here = named[unit.id]
        missing = next(
            (e for e in here.others if e not in beyond and e.split("|", 1)[0] in _TELLING), None
        )
        traits = Traits(
            stream=unit.stream,
            changed_at=facts.get(unit.id, _NO_FACT).changed_at,
            organizations=here.organizations.union(*(beyond.get(e, ()) for e in here.others)),
            certain=here.readable and missing is None,
        )
        cohort, problem = told(standing.cohorts, traits)
        made[unit.id] = (cohort.name if cohort else "", problem, missing)
    return made


def _named(manifest: Manifest, mapping: Mapping[Any], units: Sequence[Unit]) -> dict[int, _Named]:
    """What each unit names by its row; what cannot be mapped, by what was delivered of it."""
    made: dict[int, _Named] = {}
    unreadable: list[Unit] = []
    for unit in units:
        resources = mapped(mapping, unit.row)
        if not resources:
            unreadable.append(unit)
            continue
        found = [each.target for one in resources for each in find_references(one)]
        names = [token(each.resource_type, each.system, each.value) for each in found]
        own = [
            token(str(one["resourceType"]), str(each.get("system")), str(each.get("value")))
            for one in resources
            for each in one.get("identifier") or ()
        ]
        made[unit.id] = _read(own, names)
    return made | dict(_delivered(manifest, unreadable))


def _delivered(manifest: Manifest, units: Sequence[Unit]) -> Iterator[tuple[int, _Named]]:
    tokens = {unit.id: [e.token for e in unit.targets if not e.deleted] for unit in units}
    account = manifest.reconciliations
    held = account.held(name for names in tokens.values() for name in names)
    known = account.delivered_references(each.id for each in held.values())
    for unit, names in tokens.items():
        told_by = [held[name].id for name in names if name in held and held[name].id in known]
        if not told_by:
            yield unit, _Named(frozenset(), (), readable=False)
        else:
            yield unit, _read(names, [name for one in told_by for _path, name in known[one]])


def _read(own: Sequence[str], names: Sequence[str]) -> _Named:
    """The organizations named, the row's own included; and the others, without its own."""
    keys = [name.split("|", 2) for name in (*own, *names)]
    organizations = frozenset(key for kind, _system, key in keys if kind == "Organization")
    mine = set(own)
    others = dict.fromkeys(e for e in names if e not in mine and not e.startswith("Organization|"))
    return _Named(organizations, tuple(others))


def _beyond(manifest: Manifest, names: Iterable[str]) -> dict[str, frozenset[str]]:
    """Organizations that others name, as delivered, by token; who is not on account is left out."""
    account = manifest.reconciliations
    held = account.held(dict.fromkeys(names))
    known = account.delivered_references(each.id for each in held.values())
    return {
        name: frozenset(
            one.split("|", 2)[2] for _path, one in known[each.id] if one.startswith("Organization|")
        )
        for name, each in held.items()
        if each.id in known
    }
