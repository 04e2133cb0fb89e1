"""Back to the legacy system after the flip, with what was written in Medplum meanwhile.

Belongs here: the order of the way back. Does not belong here: writing into the legacy system (the
seam ``TakesBack``). First what was written is taken back, and if some of it cannot be nothing
follows, unless somebody says in a reason that it may stay behind. Then front ends are told, so that
nobody writes to Medplum any more, what came meanwhile is taken back too, and only then may the
puller write again.
"""

from typing import Any

from migration_assets.adoption import Phase
from migration_assets.adoption.gates import Evidence
from migration_assets.counting import several
from migration_assets.errors import MigrationError, Permanent
from migration_assets.reconciliation.asking import PAGE, Asker
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.findings import Kind
from migration_assets.reconciliation.joining import beside_account
from migration_assets.switching.changing import carry_out, move
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.flipping import flipped_at, on_record
from migration_assets.switching.cutover.plan import Seen, done, waits
from migration_assets.switching.cutover.verifying import compared_with
from migration_assets.switching.evidence import evidence


def roll_back(case: Case) -> Seen:
    """Go back as far as nothing is lost by it; over when the phase is read and all are told.

    Raises:
        Permanent: nothing was flipped, or it is retired.
        Transient: a system that has to be asked or told is down, and it was not forced.
    """
    if flipped_at(case) is None:
        raise Permanent(f"Nothing was flipped for {case.name}: --abort ends this cutover.")
    told: dict[str, Any] = {}
    if case.phase is Phase.WRITE:
        left = _taken_back(case, told)
        if left and not case.word.forced:
            return waits(_left(case, left), told)
        _tell(case, told)
        came = _taken_back(case, told)
        if came and not case.word.forced:
            return waits(f"front ends are told. {_left(case, came)}", told)
        told["left_behind"] = came
        _to_read(case)
    elif case.phase is not Phase.READ:
        raise Permanent(f"{case.name} is in phase {case.phase}: there is no way back from it.")
    told |= {"phase_changes": on_record(case, Phase.READ)}
    _tell(case, told)
    said = "the legacy system owns it again"
    if kept := told.get("taken_back/written", 0):
        said += f", with {several(kept, 'change')} made in Medplum"
    if behind := told.get("left_behind", 0):
        said += f"; {behind:,} stay behind there"
    return done(said, told)


def _left(case: Case, left: int) -> str:
    how = (
        "`migration write-back` says why"
        if case.desk.takes_back.takes(case.mapping)
        else "no reverse mapping takes them back, do it by hand"
    )
    return (
        f"{several(left, 'change')} made in Medplum after the flip: not in the legacy system: "
        f"{how}. "
        '--force --reason "…" leaves them behind'
    )


def _taken_back(case: Case, told: dict[str, Any]) -> int:
    """Take back what can be; how many changes are left."""
    takes = case.desk.takes_back
    try:
        if not takes.takes(case.mapping):
            return _edited(case, told)
        for name, number in takes.take_back(case.mapping).items():
            told[f"taken_back/{name}"] = told.get(f"taken_back/{name}", 0) + number
        left = takes.open(case.part())
    except MigrationError:
        if not case.word.forced:
            raise
        told["not_asked"] = 1
        return 0
    told["to_take_back"] = left
    return left


def _edited(case: Case, told: dict[str, Any]) -> int:
    """What others wrote or deleted in Medplum since the flip, found by search."""
    asker, manifest, since = Asker(case.desk.fhir), case.desk.manifest, flipped_at(case)
    part = case.part()
    written: set[str] = set()
    missing = 0
    for kind in case.mapping.types:
        related = None if kind == case.kind else kind
        compared = compare(
            manifest,
            asker,
            case.mapping,
            cohort=compared_with(case.terms, related),
            clock=case.desk.clock,
        )
        missing += compared.evidence.counts.get(Kind.MISSING.value, 0)
        place, offset = since.isoformat() if since else "1970-01-01", 0
        while True:
            page = asker.search(
                kind,
                {
                    "_lastUpdated": f"ge{place}",
                    "_sort": "_lastUpdated,_id",
                    "_fields": "identifier",
                    "_count": str(PAGE),
                    "_offset": str(offset),
                },
            )
            known = [each for each in beside_account(manifest, kind, page) if each[1] is not None]
            here = part.among(held.unit_id for _name, held, _resource in known if held)
            ours = {
                str(resource["id"])
                for _name, held, resource in known
                if held is not None
                and (held.version_id == resource["meta"]["versionId"] or held.unit_id not in here)
            }
            written |= {str(each["id"]) for each in page} - ours
            if len(page) < PAGE:
                break
            offset += PAGE
    told |= {"written_there": len(written), "deleted_there": missing}
    return len(written) + missing


def _tell(case: Case, told: dict[str, Any]) -> None:
    """Have front ends write to the legacy system; before the puller writes again, and after."""
    cohort = case.cutover.cohort
    after = case.desk.adoption().with_phase(case.mapping.types, Phase.READ, cohort=cohort)
    try:
        told |= case.desk.publish(after, by=case.word.by)
    except MigrationError:
        if not case.word.forced:
            raise
        told["front_ends_not_told"] = 1


def _to_read(case: Case) -> None:
    desk, mapping = case.desk, case.mapping
    try:
        found = evidence(desk.witnesses(), mapping, case.cohort)
    except MigrationError:  # the way back is needed most when the legacy system is down
        found = Evidence(now=desk.clock(), since=None)
    asked = move(mapping, case.declared, Phase.READ, found, desk.bounds, case.cohort)
    carry_out(
        desk.manifest,
        desk.phases,
        asked,
        by=case.word.by,
        forced=True,
        reason=case.word.reason,
    )
