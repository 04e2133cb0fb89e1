"""Reconciling: the checks that ask Medplum, the job that executes them, and the weekly schedule.

Belongs here: when Medplum is compared with the account, and how thoroughly. Does not belong here:
comparing (``reconciliation``), or what follows from findings (``claims_on_medplum``).

Dagster executes every check of an asset with each materialization that a person starts. A whole
comparison costs 20 points per 1,000 resources, and a backfill in 24 runs would make 24. So in a run
that materializes these checks repeat what the last whole comparison found, with its age; by
themselves, in the job, or where ``after_materializing`` asks for it they compare.

They are blocking: in a run that makes a type and what refers to it, the latter is not begun where
one fails. In other runs the gate says so (``claims.gates``), by the same comparisons.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import dagster as dg
from pydantic import Field

from migration_assets.claims.on_account import Claim, nothing_claimed
from migration_assets.claims.on_medplum import QUESTIONS, RESOLVE, Question, judged, latest_whole
from migration_assets.connections import Connections
from migration_assets.defs.checks import result
from migration_assets.defs.failing import shown_safely
from migration_assets.defs.freshness import FRESH
from migration_assets.defs.keys import asset_key
from migration_assets.defs.writing_back import NOTHING_WAITS
from migration_assets.errors import MigrationError, Transient
from migration_assets.manifest import Manifest
from migration_assets.manifest.reconciliations import Reconciliation
from migration_assets.mapping import Mapping
from migration_assets.medplum import Fhir
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.referenced import check_references

RECONCILE_JOB = "reconcile"
MAX_RUNTIME_SECONDS = 12 * 3600
"""Ten million resources at 50,000 points a minute are walked through in under an hour."""


class ReconcileConfig(dg.Config):
    """How thoroughly is compared."""

    deep: bool = Field(default=False, description="Compare content too, element by element.")
    sample: int | None = Field(
        default=None, description="Compare only so many resources of a type, drawn by the seed."
    )
    seed: int = Field(default=0, description="Another seed draws another sample.")
    after_materializing: bool = Field(
        default=False,
        description="Compare in a run that materializes as well; else the last comparison is told.",
    )


def check_name(mapping: Mapping[Any]) -> str:
    """The op that compares a type: the name run config is addressed to."""
    return f"reconcile__{mapping.resource_type}"


def reconciling_check(mapping: Mapping[Any]) -> dg.AssetChecksDefinition:
    """The checks that ask Medplum about a mapping's types."""

    @dg.multi_asset_check(
        name=check_name(mapping),
        specs=[
            dg.AssetCheckSpec(
                each.name, asset=asset_key(kind), description=each.description, blocking=True
            )
            for kind in mapping.types
            for each in QUESTIONS
        ],
        can_subset=True,
    )
    def _check(
        context: dg.AssetCheckExecutionContext,
        config: ReconcileConfig,
        connections: dg.ResourceParam[Connections],
    ) -> Iterator[dg.AssetCheckResult]:
        chosen = context.selected_asset_check_keys
        compares = config.after_materializing or not _materializes(context)
        try:
            with shown_safely("Comparing with Medplum"), connections.manifest() as manifest:
                asking = _Asking(connections, manifest, mapping, config, compares=compares)
                for kind in mapping.types:
                    wanted = [
                        each
                        for each in QUESTIONS
                        if dg.AssetCheckKey(asset_key(kind), each.name) in chosen
                    ]
                    for question, claim in asking.claims(kind, wanted):
                        yield result(question.name, kind, claim)
        except MigrationError as error:
            raise dg.Failure(
                description=str(error), allow_retries=isinstance(error, Transient)
            ) from None

    return _check


class _Asking:
    """One type's claims, with the evidence that there is or that is made now."""

    def __init__(
        self,
        connections: Connections,
        manifest: Manifest,
        mapping: Mapping[Any],
        config: ReconcileConfig,
        *,
        compares: bool,
    ) -> None:
        self._connections = connections
        self._manifest = manifest
        self._mapping = mapping
        self._config = config
        self._compares = compares

    def claims(self, kind: str, wanted: Sequence[Question]) -> Iterator[tuple[Question, Claim]]:
        """Each wanted claim about a type."""
        standing = self._connections.adoption().standing(self._mapping.resource_type)
        refusal = standing.refusal
        client = None if refusal else self._connections.medplum(self._manifest)
        if client is None:
            refusal = refusal or "no Medplum is set (MEDPLUM_BASE_URL and the client)."
            yield from ((each, nothing_claimed(refusal)) for each in wanted)
            return
        with closing(client):
            made: dict[tuple[str, ...], Reconciliation] = {}
            for each in wanted:
                if self._asks_for(each) and each.checked not in made:
                    made[each.checked] = self._compare(client, kind, each)
                yield each, self._claim(each, kind, made.get(each.checked))

    def _claim(self, question: Question, kind: str, made: Reconciliation | None) -> Claim:
        """By the new evidence; a sample without findings takes nothing back that a whole found."""
        now = self._connections.clock()
        claim = judged(question, kind, made, now=now)
        if made is not None and (not made.scope or not claim.holds):
            return claim
        latest = self._manifest.reconciliations.latest(resource_type=kind, limit=50)
        whole = judged(question, kind, latest_whole(latest, question), now=now)
        return claim if made is not None and (whole.holds or not whole.alarming) else whole

    def _asks_for(self, question: Question) -> bool:
        """Whether Medplum is asked now; references are checked of whole types only."""
        return self._compares and (self._config.sample is None or question.name != RESOLVE)

    def _compare(self, fhir: Fhir, kind: str, question: Question) -> Reconciliation:
        related = None if kind == self._mapping.resource_type else kind
        if question.name == RESOLVE:
            return check_references(
                self._manifest,
                fhir,
                self._mapping,
                resource_type=related,
                clock=self._connections.clock,
            ).evidence
        return compare(
            self._manifest,
            fhir,
            self._mapping,
            cohort=Cohort(resource_type=related),
            deep=self._config.deep,
            sample=self._config.sample,
            seed=self._config.seed,
            clock=self._connections.clock,
        ).evidence


def _materializes(context: dg.AssetCheckExecutionContext) -> bool:
    """Whether the run that this check is executed in materializes assets as well."""
    return bool(context.job_def.asset_layer.executable_asset_keys)


def reconcile_job(mappings: Sequence[Mapping[Any]]) -> Any:
    """The job that compares every type with Medplum."""
    return dg.define_asset_job(
        RECONCILE_JOB,
        selection=dg.AssetSelection.checks(*check_keys(mappings)),
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
        description="Compare what the account says with what Medplum holds, by search.",
    )


def to_pull(mappings: Sequence[Mapping[Any]]) -> dg.AssetSelection:
    """Every asset with the checks of its materialization, without those that stand by themselves.

    For the jobs that run many times a day: each check is an event per type and run.
    """
    keys = [asset_key(kind) for each in mappings for kind in each.types]
    fresh = [dg.AssetCheckKey(asset_key(each.resource_type), FRESH) for each in mappings]
    waits = [
        dg.AssetCheckKey(asset_key(each.resource_type), NOTHING_WAITS)
        for each in mappings
        if each.reverse is not None
    ]
    by_themselves = dg.AssetSelection.checks(*check_keys(mappings), *fresh, *waits)
    return dg.AssetSelection.assets(*keys) - by_themselves


def check_keys(mappings: Sequence[Mapping[Any]]) -> list[dg.AssetCheckKey]:
    """Every check that asks Medplum."""
    return [
        dg.AssetCheckKey(asset_key(kind), each.name)
        for mapping in mappings
        for kind in mapping.types
        for each in QUESTIONS
    ]


def reconcile_schedule(mappings: Sequence[Mapping[Any]], job: Any) -> dg.ScheduleDefinition:
    """A comparison by content of everything, once a week."""
    config = {check_name(each): {"config": {"deep": True}} for each in mappings}
    return dg.ScheduleDefinition(
        name="weekly_deep_reconciliation",
        job=job,
        cron_schedule="0 5 * * 0",
        run_config={"ops": config},
        description="Compares everything with Medplum on Sundays, content included.",
    )
