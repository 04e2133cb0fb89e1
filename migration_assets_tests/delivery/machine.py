"""The machine: rows change, somebody else writes, Medplum misbehaves, runs are cut off.

Each step is one run, in a manner of its own. At the end quiet runs follow, and the law is asked.
A case goes the same way every time: lanes take turns, and it looks at no clock but its own. Whoever
explores has real threads.
"""

import os
import shutil
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar
from unittest.mock import patch

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.faults import Fault, Wrong, mixture
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Transient
from migration_assets.manifest import Manifest, Unit
from migration_assets.mapping import Mapping as FhirMapping
from migration_assets.medplum import Deliverer, Manner, MedplumClient, deliver, lanes
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.delivery.account_now import read_account
from migration_assets_tests.delivery.clinic import (
    KEYS,
    PERSONS,
    STAYS,
    STREAM_OF,
    Living,
    World,
    mappings,
)
from migration_assets_tests.delivery.cut_off import Crash, Doom, Meanwhile, Mortal, MortalFhir
from migration_assets_tests.delivery.in_turn import InTurn, heard_in_any_order
from migration_assets_tests.delivery.law import Law, held_by, nothing_counts_that_was_not_sent
from migration_assets_tests.delivery.plans import PLANS, PROJECTS, Change, Plan, Project
from migration_assets_tests.delivery.somebody import Somebody
from migration_assets_tests.scripted import START, ScriptedSource

SECRET = "invented"
EXAMPLES = int(os.environ.get("MIGRATION_MACHINE_EXAMPLES", "40"))
QUIET_RUNS = 3  # what one run lets go of, the next one takes up; a chain has two links
_LONG = timedelta(hours=1)  # a dead run's lease is stale by then


def _mortal(run: Run, doom: Doom) -> Run:
    manifest: Any = Mortal(run.manifest, doom)
    return replace(run, manifest=manifest, fhir=MortalFhir(run.fhir, doom))


class Migration(RuleBasedStateMachine):
    """A migration from its first run to its quiet end."""

    sandbox: ClassVar[Sandbox]

    @initialize(project=PROJECTS, first=PLANS)
    def begin(self, project: Project, first: Plan) -> None:
        """Every row is there; the first run may be cut off already."""
        self.project = project
        self.sandbox.reset()
        self.sandbox.change(transactions=project.transactions)
        self.waited, self.ticks = 0.0, count()
        self.client = MedplumClient(
            self.sandbox.base_url,
            self.sandbox.client_id,
            SecretStr(SECRET),
            clock=lambda: self.waited,
            sleep=self._sleep,
        )
        self.folder = Path(mkdtemp())  # no finalizer that would complain in another test
        self.path = self.folder / "manifest.db"
        self.seconds, self.now = count(1), datetime(2026, 11, 15, tzinfo=UTC)
        self.manifest = Manifest(blank_file(self.path), clock=lambda: self.now)
        self.mappings = mappings(marks=project.marks)
        self.source = ScriptedSource(page_size=2)
        self.source.rows = {stream: [] for stream in KEYS}
        self.world, self.somebody = World(), Somebody(self.client)
        self.attempts: list[Any] = []
        for stream, keys in KEYS.items():
            for key in keys:
                person = {"person": KEYS[PERSONS][0], "note": "well"} if stream == STAYS else {}
                self._change(stream, key, Living({"name": "x", **person}))
        self.run(first)

    def teardown(self) -> None:
        """The quiet end, and the law."""
        if not hasattr(self, "manifest"):
            return
        held = {}
        try:
            for _ in range(QUIET_RUNS):
                held = self._versions()
                self._run(Plan())
            assert self._versions() == held, "what is settled is written again and again"
            self._check()
        finally:
            self.manifest.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _sleep(self, seconds: float) -> None:
        """Nobody waits: the server finishes what it got, and the quota is there again."""
        self.waited += seconds
        self.sandbox.settle()
        self.sandbox.refill()

    # -- the source -----------------------------------------------------------------------------

    def _change(self, stream: str, key: str, row: Living | None) -> None:
        before = self.world.of(stream, key).keys()
        if row is None:
            self.world.living.pop((stream, key), None)
            self.source.delete(stream, key, at=self._tick())
        else:
            if row.merged_into == key:
                row = replace(row, merged_into=None)
            row = replace(row, content={"id": key, **row.content})
            self.world.put(stream, key, row)
            self.source.put(
                stream,
                key,
                at=self._tick(),
                **{name: value for name, value in row.content.items() if name != "id"},
            )
            put = self.source.rows[stream].pop()
            marked = replace(put, archived=row.archived, merged_into=row.merged_into)
            self.source.rows[stream].append(marked)
        for name in before - self.world.of(stream, key).keys():
            if self.project.authority != "medplum" or name.startswith("Location"):
                self.somebody.guarded.pop(name, None)  # what is deleted, is deleted

    def _tick(self) -> int:
        """The next second by the source's clock, which marks follow."""
        second = next(self.seconds)
        self.source.now = START + timedelta(seconds=second)
        return second

    # -- runs -----------------------------------------------------------------------------------

    @rule(plan=PLANS)
    def run(self, plan: Plan) -> None:
        """Rows change and somebody else writes; then a run, which may be cut off."""
        for change in plan.changes:
            self._change(*change)
        for deed, name in plan.deeds:
            self.somebody.does(deed, name, to_stay=partial(self._to_stay, name))
        if plan.faults is not None:
            self.sandbox.misbehave(*self._faults(plan), seed=plan.faults)
        try:
            self._run(plan)
        except Crash:
            pass
        except Transient:
            assert plan.faults is not None
        self.sandbox.behave()
        self.sandbox.settle()
        self._nothing_is_forgotten()

    def _faults(self, plan: Plan) -> list[Fault]:
        """All that may happen; but nobody else may write over an edit that must stay."""
        faults = mixture(of_writes=0.05, of_requests=0.02)
        kept = [f for f in faults if not (self.somebody.guarded and f.wrong is Wrong.OVERTAKEN)]
        return [*kept, Fault(Wrong.EDITED, 0.1)] if plan.edited else kept

    def _to_stay(self, name: str, fhir_id: str | None) -> bool:
        """Whether what somebody else writes now must not be written over."""
        kind, _system, key = name.split("|")
        wanted = name in self.world.of(STREAM_OF[kind], key)
        if kind == "Location":
            return wanted
        target = read_account(self.path).targets.get(name)
        known = target is not None and not target.deleted and target.fhir_id == fhir_id is not None
        authority = self.project.authority
        return known and (authority == "medplum" or (authority is None and wanted))

    def _run(self, plan: Plan) -> None:
        self.now += _LONG
        number = self.manifest.start_run("test", pipeline_version="0")
        standing = "phase = 'backfill'\nstrategy = '{}'\n".format(
            "exclusive" if plan.exclusive else "shared"
        )
        if self.project.authority:
            standing += f"authority = '{self.project.authority}'\n"
        run = Run(
            id=number,
            label=f"run-{number}",
            manifest=self.manifest,
            puller=self.source,
            adoption=read_adoption(
                "".join(f"[{each.resource_type}]\n{standing}" for each in self.mappings)
            ),
            fhir=self.client,
            deadline_seconds=30,
            manner=Manner(max_concurrency=plan.lanes, via=plan.via),
            # A millisecond passes between two looks: waiting costs nothing of the deadline.
            new_deliverer=partial(
                Deliverer, clock=lambda: next(self.ticks) / 1000, sleep=self._sleep
            ),
        )
        mortal = _mortal(run, Doom(*plan.doom) if plan.doom else Doom())
        with ExitStack() as small:
            small.enter_context(patch.object(deliver, "MAX_ENTRIES", plan.entries))
            small.enter_context(patch.object(deliver, "_JOB_ENTRIES", plan.entries))
            small.enter_context(patch.object(lanes, "_SAMPLE", 1))
            if settings().derandomize:
                small.enter_context(patch.object(lanes, "ThreadPoolExecutor", InTurn))
                small.enter_context(patch.object(lanes, "wait", heard_in_any_order(number)))
            for mapping in self.mappings:
                mark = None if plan.whole else self.manifest.high_water_mark(mapping.stream)
                way = Way.BACKFILL if plan.whole else Way.INCREMENTAL
                one = mortal if plan.where in (None, mapping.stream) else run
                if plan.meanwhile and plan.meanwhile[0] == mapping.stream:
                    late = partial(self._land_meanwhile, run, mapping, plan.meanwhile)
                    one = replace(one, fhir=Meanwhile(one.fhir, late))
                land(one, mapping, Window(mark, None, way=way))
                migrate(one, mapping)

    def _land_meanwhile(self, run: Run, mapping: FhirMapping[Any], change: Change) -> None:
        self._change(*change)
        mark = self.manifest.high_water_mark(mapping.stream)
        land(run, mapping, Window(mark, None, way=Way.INCREMENTAL))

    # -- the law --------------------------------------------------------------------------------

    def _nothing_is_forgotten(self) -> None:
        """Every unit in one state; attempts are added and never changed."""
        assert all(each.holds for each in self.manifest.balances().values())
        account = read_account(self.path)
        nothing_counts_that_was_not_sent(account, self._landed())
        attempts = [each.whole for each in account.attempts]
        assert attempts[: len(self.attempts)] == self.attempts
        self.attempts = attempts

    def _landed(self) -> list[Unit]:
        return [e for stream in KEYS for e in self.manifest.landed_units(stream, limit=100)]

    def _versions(self) -> dict[str, tuple[str, str]]:
        held = held_by(self.client)
        return {name: (each["id"], each["meta"]["versionId"]) for name, each in held.items()}

    def _check(self) -> None:
        self._nothing_is_forgotten()
        landed = {(each.stream, each.key): each.row for each in self._landed()}
        Law(
            self.world,
            self.somebody,
            read_account(self.path),
            held_by(self.client),
            landed,
            self.project.authority,
            self.project.marks,
        ).check()
