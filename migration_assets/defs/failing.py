"""How a step fails: in words that are safe to show, and tried again only if that may help.

Belongs here: from an error to what Dagster shows and does about it. Does not belong here: deciding
which fate an error is (it is raised as one).

Dagster knows two retries. A run whose worker was lost is retried by ``run_retries``; a run whose
step failed is not (``retry_on_asset_or_op_failure: false``) unless its own tag says so. So the
step that fails says it, in the tag: only for what may clear, and not where the sensor starts the
next run anyway, with a back-off of its own.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from migration_assets.errors import MigrationError, Permanent, Transient

RETRY = "dagster/retry_on_asset_or_op_failure"
_CLEARS = "migration/may_clear"  # the id of the run of which some step failed for now


def failure(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, error: Exception, doing: str
) -> dg.Failure:
    """The failure to raise for an error; ``doing`` is what was attempted, without patient data."""
    transient = isinstance(error, Transient)
    _say_whether_to_retry(context, transient=transient)
    if isinstance(error, MigrationError):
        # Our messages say what to do and hold no patient data; the traceback adds nothing.
        return dg.Failure(description=str(error), allow_retries=transient)
    return dg.Failure(description=unexpected(error, doing), allow_retries=False)


def unexpected(error: Exception, doing: str) -> str:
    """What may be shown of an error nobody expected: its kind and where, never what it says."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return (
        f"{doing} met an unexpected {type(error).__name__}; what it says is left out, it may name "
        f"a patient. What was committed is kept. Report where it happened:\n{frames}"
    )


@contextmanager
def shown_safely(doing: str) -> Iterator[None]:
    """Keep what an unexpected error says out of a tick; a sensor's and a schedule's are shown.

    Raises:
        Permanent: it happened; with its kind and where.
    """
    try:
        yield
    except MigrationError:
        raise
    except Exception as error:  # noqa: BLE001 - its text may quote a row: only its kind goes on
        raise Permanent(unexpected(error, doing)) from None


def _say_whether_to_retry(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, *, transient: bool
) -> None:
    run_id = context.run.run_id
    if transient and "dagster/sensor_name" not in context.run.tags:
        context.instance.add_run_tags(run_id, {RETRY: "true", _CLEARS: run_id})
        return
    now = context.instance.get_run_by_id(run_id)
    if now is None or now.tags.get(_CLEARS) != run_id:  # a retry inherits its parent's tags
        context.instance.add_run_tags(run_id, {RETRY: "false"})
