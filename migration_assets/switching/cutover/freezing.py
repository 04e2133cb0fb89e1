"""Freeze: people lock the legacy system, and quiet polls show that it is locked.

Belongs here: one poll, and when there were enough. Does not belong here: the lock. One question
that finds nothing proves nothing: so many in a row do, over a stretch of time, if nobody else
landed anything meanwhile either. A poll that finds news follows them, and the count begins anew.
"""

from migration_assets.counting import several
from migration_assets.switching.cutover.asking import follow, news
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.plan import CutoverStep, Seen, done, waits
from migration_assets.switching.cutover.progress import quiet


def freeze(case: Case) -> Seen:
    """Poll once; over when the last polls were quiet for long enough."""
    plan, looks = case.plan, case.looks(CutoverStep.FREEZE)
    asked = news(case)
    before = [each.evidence["landings"] for each in looks if "landings" in each.evidence]
    landed = abs(asked.landings - before[-1]) if before else 0
    is_quiet = not asked.rows and not landed
    followed = follow(case) if asked.rows else 0
    evidence = {
        "news": asked.rows,
        "landed_by_others": landed,
        "followed": followed,
        "landings": case.landings() if asked.rows else asked.landings,
        "quiet": int(is_quiet),
        "read_whole": int(asked.whole),
    }
    if not is_quiet:
        return waits(
            f"{several(asked.rows + landed, 'row')} changed in the legacy system: it is not "
            f"frozen. Lock it for everybody who writes {case.name}",
            evidence,
        )
    calm = quiet(looks)
    number, now = len(calm) + 1, case.desk.clock()
    seconds = int((now - calm[0].began_at).total_seconds()) if calm else 0
    evidence |= {"polls": number, "quiet_seconds": seconds}
    if number >= plan.polls and seconds >= plan.quiet_seconds:
        return done(f"{number} polls over {seconds:,} s found nothing", evidence)
    return waits(
        f"{number} of {plan.polls} quiet polls, over {seconds:,} of {plan.quiet_seconds:,} s",
        evidence,
    )
