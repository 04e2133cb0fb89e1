"""What a person may ask of a run, in the Launchpad and in the backfill dialog.

Belongs here: the questions, and refusing answers that make no sense together, before anything is
pulled. Does not belong here: doing it.

Texts, lists and numbers are checked when the run starts and not by Dagster's own types: its errors
quote what was typed, and a key may be a patient's.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import dagster as dg
from pydantic import Field

from migration_assets.adoption import Phase, Standing, Strategy
from migration_assets.errors import Permanent
from migration_assets.legacy import Stream
from migration_assets.manifest.subsets import Subset
from migration_assets.steps.clinical_ranges import ClinicalRange

_EITHER = (Phase.BACKFILL, Phase.READ)
_AS_DECLARED: Literal["as_declared"] = "as_declared"


class PullConfig(dg.Config):
    """What the Launchpad and the backfill dialog may ask of a run."""

    incremental: bool = Field(
        default=False, description="Pull only what changed since the high-water mark."
    )
    dry_run: bool = Field(
        default=False, description="Land, map and validate, but write nothing to Medplum."
    )
    sweep: bool = Field(
        default=False,
        description="Read the whole stream, whatever the partition: finds deleted rows.",
    )
    allow_missing: int | None = Field(
        default=None,
        description="Rows that may be missing from a sweep, for once, after a person has looked.",
    )
    remap: bool = Field(
        default=False,
        description="Pull nothing: map landed rows again that another mapping version settled.",
    )
    record_since: str | None = Field(
        default=None,
        description="Only rows recorded on this clinical date or later (2023-01-31), whenever "
        "they were changed and whatever the partition.",
    )
    record_until: str | None = Field(
        default=None, description="Only rows recorded before this clinical date (2024-01-01)."
    )
    limit: int | None = Field(
        default=None, description="Deliver so many pending rows only; the others stay pending."
    )
    keys: list[str] = Field(
        default_factory=list, description="Deliver the rows with these keys only."
    )
    sample: int | None = Field(
        default=None, description="Deliver a sample of so many rows only, drawn by the seed."
    )
    seed: int = Field(default=0, description="Another seed draws another sample.")
    strategy: Literal["as_declared", "shared", "exclusive"] = Field(
        default=_AS_DECLARED,
        description="How resources are created in this run; else as adoption.toml declares.",
    )
    page_size: int | None = Field(
        default=None, description="Ask the legacy API for pages of so many rows in this run."
    )


@dataclass(frozen=True)
class Launch:
    """A config that was looked at and makes sense."""

    config: PullConfig
    subset: Subset
    clinical: ClinicalRange | None
    strategy: Strategy | None


def launch(config: PullConfig) -> Launch:
    """What a config means.

    Raises:
        Permanent: answers contradict each other; says which, and what to do instead.
    """
    problems = [*_contradictions(config), *_out_of_bounds(config)]
    ends = [_day(config.record_since), _day(config.record_until)]
    for name, given, day in zip(
        ("record_since", "record_until"),
        (config.record_since, config.record_until),
        ends,
        strict=True,
    ):
        if given is not None and day is None:
            problems.append(f"{name} should be a date such as 2023-01-31")
    if all(ends) and str(ends[0]) >= str(ends[1]):
        problems.append("record_since should be before record_until: nothing lies between them")
    if problems:
        raise Permanent(
            "The run was refused before anything was pulled: "
            + "; ".join(problems)
            + ". Change the config in the Launchpad and launch again."
        )
    return Launch(
        config,
        Subset(limit=config.limit, keys=tuple(config.keys), sample=config.sample, seed=config.seed),
        ClinicalRange(*ends) if any(ends) else None,
        None if config.strategy == _AS_DECLARED else Strategy(config.strategy),
    )


def refuse_for(asked: Launch, resource_type: str, described: Stream, standing: Standing) -> None:
    """Refuse what makes no sense for this type, its stream, or the phase it is in.

    Raises:
        Permanent: says what, and what would be needed.
    """
    name = described.name
    config = asked.config
    whole = described.cursor is None and described.queue is None
    problem = ""
    if asked.strategy is not None:
        problem = _forbidden(asked.strategy, standing)
    if config.allow_missing is not None and not (config.sweep or whole):
        problem = "allow_missing is about sweeps: say sweep as well, or leave it out"
    if config.sweep and described.queue is not None:
        problem = f"sweep: {name} is a queue, which shows what changed, never all there is"
    if asked.clinical is not None and described.record_date is None:
        problem = (
            f"record_since and record_until: the description of {name} names no clinical date. "
            "Add record_date: {field: ...} to it"
        )
    if problem:
        raise Permanent(
            f"The run was refused for {resource_type} before anything was pulled: {problem}."
        )


def _contradictions(config: PullConfig) -> list[str]:
    ranged = config.record_since is not None or config.record_until is not None
    ways = {
        "incremental": config.incremental,
        "sweep": config.sweep,
        "remap": config.remap,
        "record_since/record_until": ranged,
    }
    chosen = [name for name, given in ways.items() if given]
    problems = []
    if len(chosen) > 1:
        problems.append(f"{' and '.join(chosen)} are different ways to choose rows: say one")
    if config.keys and config.sample is not None:
        problems.append("keys and sample both choose rows: say one")
    if config.seed and config.sample is None:
        problems.append("seed draws a sample: say sample as well, or leave it out")
    if config.dry_run and config.strategy != _AS_DECLARED:
        problems.append("strategy is about writing, and dry_run writes nothing: say one")
    if config.remap and config.page_size is not None:
        problems.append("page_size is about pulling, and remap pulls nothing: say one")
    return problems


def _out_of_bounds(config: PullConfig) -> list[str]:
    least = {"limit": 1, "sample": 1, "page_size": 1, "allow_missing": 0}
    given = {name: getattr(config, name) for name in least}
    return [
        f"{name} should be {least[name]} or more"
        for name, number in given.items()
        if number is not None and number < least[name]
    ]


def _forbidden(strategy: Strategy, standing: Standing) -> str:
    """Why a strategy cannot be chosen in a phase, or nothing (design §6)."""
    if not standing.may_deliver:
        return f"strategy: nothing is written in the phase {standing.phase}"
    if strategy is Strategy.EXCLUSIVE and standing.phase not in _EITHER:
        return (
            f"strategy exclusive: in the phase {standing.phase} others write this type too, and a "
            "plain create beside theirs makes two records of one"
        )
    return ""


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
