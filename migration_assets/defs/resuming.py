"""Which runs belong together: a run that is tried again finds done what the others finished.

Belongs here: retries and re-executions of one run, and the runs of one backfill. Does not belong
here: what they finished (``manifest.finished``).

A run re-executed after a success is somebody's wish to do it again: it belongs to nobody, and pulls
everything. So does a run that is launched anew over the same partitions.
"""

import dagster as dg

_BACKFILL = "dagster/backfill"
_ROOT_BACKFILL = "dagster/root_backfill_id"
_LONGEST_CHAIN = 50


def kin(instance: dg.DagsterInstance, run: dg.DagsterRun) -> frozenset[str]:
    """The ids of the runs whose finished windows this run need not pull again, its own included."""
    chain, after_success = _failed_before(instance, run)
    found = {each.run_id for each in chain}
    if after_success:
        return frozenset(found)
    for each in chain:
        for name, identity in _backfills(each):
            found.update(instance.get_run_ids(dg.RunsFilter(tags={name: identity})))
    return frozenset(found)


def _failed_before(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> tuple[list[dg.DagsterRun], bool]:
    """The run and those it was re-executed from, up to one that succeeded; and if there is one."""
    chain = [run]
    while chain[-1].parent_run_id and len(chain) < _LONGEST_CHAIN:
        parent = instance.get_run_by_id(chain[-1].parent_run_id)
        if parent is None:
            break
        if parent.status is dg.DagsterRunStatus.SUCCESS:
            return chain, True
        chain.append(parent)
    return chain, False


def _backfills(run: dg.DagsterRun) -> list[tuple[str, str]]:
    """The tags by which the runs of a run's backfill, and of those it repeats, are found."""
    own, root = run.tags.get(_BACKFILL), run.tags.get(_ROOT_BACKFILL)
    found = [(_BACKFILL, own)] if own else []
    return [*found, (_ROOT_BACKFILL, root), (_BACKFILL, root)] if root else found
