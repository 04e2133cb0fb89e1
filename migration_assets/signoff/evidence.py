"""What was asked of Medplum and found, what runs did, and what it cost, from the account.

Belongs here: comparisons, runs, points. Does not belong here: asking anything now.
"""

from collections.abc import Sequence
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.reconciliations import Reconciliation
from migration_assets.manifest.tallies import Dimension
from migration_assets.mapping import Mapping
from migration_assets.medplum.ledger import from_text
from migration_assets.reconciliation.findings import Checked
from migration_assets.reconciliation.open_points import open_points
from migration_assets.signoff.values import ComparisonLine, QuotaLine, RunLine
from migration_assets.signoff.withholding import Withholding

MOST_RUNS = 30
_LOOKED_AT = 100
_CURRENT = "current "  # ledgers of polling: no quota


def comparison_lines(
    manifest: Manifest, types: Sequence[str], names: Withholding
) -> tuple[ComparisonLine, ...]:
    """Of each type and respect the last comparison of the whole type, or else the last of any."""
    made = []
    for kind in types:
        for checked in Checked:
            found = manifest.reconciliations.latest(
                limit=_LOOKED_AT, resource_type=kind, checked=checked.value
            )
            ended = [each for each in found if each.finished_at is not None]
            whole = next((each for each in ended if not each.scope), None)
            last = whole or next(iter(ended or found), None)
            if last is not None:
                made.append(_line(last, names))
    return tuple(made)


def _line(each: Reconciliation, names: Withholding) -> ComparisonLine:
    scope = {
        name: names.key("organizations", str(value)) if name == "organization" else value
        for name, value in each.scope.items()
    }
    return ComparisonLine(
        resource_type=each.resource_type,
        checked=each.checked,
        whole=not each.scope and each.finished_at is not None,
        agrees=each.agrees,
        scope=scope,
        query=each.query,
        mapping_version=each.mapping_version,
        started_at=each.started_at,
        finished_at=each.finished_at,
        expected=each.expected,
        found=each.found,
        searches=each.searches,
        points=each.points,
        counts={name: number for name, number in each.counts.items() if number},
    )


def run_lines(manifest: Manifest) -> tuple[RunLine, ...]:
    """The latest runs, newest first."""
    settled: dict[str, int] = {}
    for (_stream, run), balance in manifest.tallies.by(Dimension.RUN).items():
        number = balance.eligible - balance.by_state[State.PENDING]
        settled[run] = settled.get(run, 0) + number
    made = []
    for each in manifest.contents.sign_off.latest_runs(MOST_RUNS):
        seconds = (
            None
            if each.finished_at is None
            else (each.finished_at - each.started_at).total_seconds()
        )
        rows = settled.get(str(each.id), 0)
        made.append(
            RunLine(
                id=each.id,
                label=each.label,
                version=each.version,
                started_at=each.started_at,
                finished_at=each.finished_at,
                seconds=seconds,
                rows=rows,
                answers=each.answers,
                rows_per_second=rows / seconds if seconds and rows else None,
            )
        )
    return tuple(made)


def quota_line(
    manifest: Manifest, mappings: Sequence[Mapping[Any]], adoption: Adoption, compared: int
) -> QuotaLine:
    """Points as far as they are on account; the server's limit as it was heard last."""
    heard = [
        (written_at, known)
        for name, text, written_at in manifest.contents.sign_off.ledgers()
        if not name.startswith(_CURRENT) and (known := from_text(text)).limit is not None
    ]
    at, known = max(heard, key=lambda each: each[0], default=(None, from_text(None)))
    points = sum(each.points for each in open_points(manifest, mappings, adoption))
    return QuotaLine(
        limit=known.limit, left=known.left, heard_at=at, compared=compared, open=points
    )
