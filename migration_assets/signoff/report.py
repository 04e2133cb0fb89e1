"""The report put together, and what in it needs a person.

Belongs here: the order of the parts, and the verdict. Does not belong here: a part, or the page.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.adoption.gates import Discrepancy
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.signoff.balances import act_lines, pause_lines, stream_lines, type_lines
from migration_assets.signoff.charts import make_charts
from migration_assets.signoff.evidence import comparison_lines, quota_line, run_lines
from migration_assets.signoff.exceptions import exception_lines, left_out_lines, unmapped_codes
from migration_assets.signoff.switched import switched
from migration_assets.signoff.values import FORMAT, Need, Report
from migration_assets.signoff.withholding import Withholding


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a report is to be about; ``start`` is the first month that is told apart.

    ``puller``: by stream the fields that the puller itself reads, and as what.
    """

    mappings: Sequence[Mapping[Any]]
    every: Sequence[Mapping[Any]]
    adoption: Adoption
    names: Withholding
    seed: int
    of_each: int
    start: date
    now: datetime
    pipeline_version: str
    encrypted: bool
    puller: MappingOf[str, MappingOf[str, str]]
    agreement: MappingOf[str, Discrepancy] = field(default_factory=dict)
    """By type, what services wrote to both systems beside what the puller would have."""


def make_report(manifest: Manifest, wanted: Wanted) -> Report:
    """The report, from the account alone.

    Raises:
        Permanent: rows on account are sealed, and no key that is set opens them.
    """
    mappings, names, now = wanted.mappings, wanted.names, wanted.now
    streams = [each.stream for each in mappings]
    types = [name for each in mappings for name in each.types]
    exceptions = exception_lines(manifest, mappings, names, now.date())
    comparisons = comparison_lines(manifest, types, names)
    whole = {each.resource_type for each in comparisons if each.whole}
    balances = type_lines(
        manifest, mappings, wanted.adoption, start=wanted.start, today=now.date()
    )  # fmt: skip
    there = {each.resource_type for each in balances if each.numbers["eligible"]}
    report = Report(
        format=FORMAT,
        made_at=now,
        pipeline_version=wanted.pipeline_version,
        with_patient_data=names.everything,
        encrypted=wanted.encrypted,
        chosen_types=tuple(types),
        needs=(),
        types=balances,
        exceptions=exceptions,
        unmapped_codes=unmapped_codes(manifest, mappings, exceptions, names),
        left_out=left_out_lines(mappings),
        comparisons=comparisons,
        never_compared=tuple(each for each in types if each in there and each not in whole),
        streams=stream_lines(manifest, mappings, now),
        pauses=pause_lines(manifest, streams),
        custody=act_lines(manifest, streams),
        runs=run_lines(manifest),
        quota=quota_line(
            manifest, mappings, wanted.adoption, sum(each.points for each in comparisons)
        ),
        switched=switched(manifest, mappings, wanted.adoption, names, wanted.agreement),
        charts=make_charts(
            manifest,
            mappings,
            wanted.every,
            names,
            wanted.puller,
            seed=wanted.seed,
            of_each=wanted.of_each,
        ),
    )
    return replace(report, needs=tuple(_needs(report)))


def _needs(report: Report) -> Iterator[Need]:
    """What keeps the report from being signed without conditions, worst first."""
    if not any(each.numbers["eligible"] for each in report.types):
        yield Need(told="Nothing is on account yet.", at="balance", count=0)
    wrong = [each.resource_type for each in report.types if not each.holds]
    if wrong:
        told = f"The numbers of {', '.join(wrong)} do not add up: rows are unaccounted for."
        yield Need(told=told, at="balance", count=len(wrong))
    for comparison in report.comparisons:
        found = sum(comparison.counts.values())
        if found:
            told = f"{comparison.resource_type}: Medplum and the account differ."
            yield Need(told=told, at="comparison", count=found)
    still = sum(each.open for each in report.exceptions)
    if still:
        yield Need(
            told="Rows did not arrive, and nobody has explained or accepted that yet.",
            at="exceptions",
            count=still,
        )
    overdue = sum(
        one.count for each in report.exceptions for one in each.said if one.overdue
    )  # fmt: skip
    if overdue:
        yield Need(
            told="Rows that did not arrive are past their due date.", at="exceptions", count=overdue
        )
    yield from _needs_of_switching(report)
    pending = sum(each.numbers["pending"] for each in report.types if each.within is None)
    if pending:
        yield Need(told="Rows have no outcome yet.", at="balance", count=pending)
    if report.never_compared:
        names = ", ".join(report.never_compared)
        told = f"Never compared with Medplum as a whole: {names}."
        yield Need(told=told, at="comparison", count=len(report.never_compared))
    paused = sum(each.paused for each in report.streams)
    if paused:
        yield Need(told="Streams stand still.", at="current", count=paused)


def _needs_of_switching(report: Report) -> Iterator[Need]:
    """What of the change of authority is left open."""
    found = report.switched
    for state, told in (
        ("conflict", "Records were changed in both systems: a person decides which one counts."),
        ("refused", "Changes made in Medplum could not be written to the old system."),
        ("open", "Changes made in Medplum are not in the old system yet."),
    ):
        count = sum(each.states.get(state, 0) for each in found.write_backs)
        if count:
            yield Need(told=told, at="switching", count=count)
    under_way = sum(each.ended_at is None for each in found.cutovers)
    if under_way:
        yield Need(told="A change of authority is under way.", at="switching", count=under_way)
    cut_off = sum(not each.done for each in found.changes)
    if cut_off:
        told = "A change of phase was cut off: look at `migration phase`."
        yield Need(told=told, at="switching", count=cut_off)
