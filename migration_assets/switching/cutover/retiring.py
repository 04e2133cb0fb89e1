"""Retire: the legacy system is out of use, and what proves the migration is kept.

Belongs here: the last look at the triggers, the last change of phase, the final report. Does not
belong here: revoking credentials and disposing of payloads, which people do (``plan.AFTERWARDS``).
Between the end of the observation and this step people went on working: what they wrote in Medplum
is written back once more, and an edit in the legacy system is an alarm here as it was there.
"""

from typing import Any

from migration_assets.adoption import Phase
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.flipping import moved, on_record
from migration_assets.switching.cutover.observing import last_look
from migration_assets.switching.cutover.plan import Seen, done


def retire(case: Case) -> Seen:
    """Put the legacy system out of use for these types; keep the report as final evidence."""
    if case.phase is not Phase.RETIRED:
        hindrance = last_look(case)
        if hindrance is not None:
            return hindrance
        shut = moved(case, Phase.RETIRED)
        if shut is not None:
            return shut
    told: dict[str, Any] = {"phase_changes": on_record(case, Phase.RETIRED)}
    told |= case.desk.publish(case.desk.adoption(), by=case.word.by)
    report = dict(case.desk.report(case.mapping, case.cutover.cohort))
    where = f"; report {report['page']}, sha256 {report['sha256'][:12]}…" if report else ""
    return done(f"the legacy system is out of use{where}", told | report)
