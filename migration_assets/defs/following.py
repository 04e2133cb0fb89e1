"""The sensor: follows the source, with at most one pull at a time for what changed.

Belongs here: when a pull is worth a run, and who takes part. Does not belong here: asking the
source (``probing``), what is remembered (``back_off``), what a pull is (``incremental``).

Who takes part in a pull: the types that changed, those whose last pull failed, and those that wait
for what these deliver: a new organization releases patients awaiting it. All of them took three
times as long (ten types; 5.5 s of which four were steps with nothing to do). Who does not take
part, and keeps nobody else: a paused stream, one that is down or rests after a failure, one that
another run is working on, one without a mark. A row that refers to something of a type left out
awaits it, and is released when that comes: so nobody has to wait for anybody.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.back_off import EVERYTHING, BackOff, read_back_off
from migration_assets.defs.failing import shown_safely
from migration_assets.defs.incremental import JOB, incremental_request, key_for
from migration_assets.defs.keys import asset_key, op_name, stream_key
from migration_assets.defs.looking_on import Patience, look_on
from migration_assets.defs.probing import Probed, can_be_asked, probe, seconds_between
from migration_assets.defs.under_way import UNFINISHED
from migration_assets.errors import MigrationError
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.steps.polling import current_until, note_current

SENSOR = "legacy_changes"
_RUNS_LOOKED_AT = 200
_EVERY_ASSET = ("__ASSET_JOB", "sweep", "redeliver")  # jobs over all types, if a run names none
_PROBLEMS_SHOWN = 3


def change_sensor(
    mappings: Sequence[Mapping[Any]],
    partitions: dg.TimeWindowPartitionsDefinition,
    job: Any,
    *,
    every_seconds: int,
) -> dg.SensorDefinition:
    """The sensor that polls the source, so often at most."""

    @dg.sensor(
        name=SENSOR,
        job=job,
        minimum_interval_seconds=every_seconds,
        description="Asks each legacy stream one cheap question, whether anything changed past "
        "its mark, and starts one pull if so. Rests longer and longer after failures. Streams that "
        "cannot filter by time, or are read parent by parent, are for the schedules.",
    )
    def _sensor(
        context: dg.SensorEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.SensorResult:
        with shown_safely("Asking the source for changes"):
            return Tick(context, connections, mappings, partitions).look_on(every_seconds)

    return _sensor


def streams_at_work(
    instance: dg.DagsterInstance, mappings: Sequence[Mapping[Any]]
) -> tuple[set[str], set[str]]:
    """The jobs that are queued or running, and the streams that they are working on."""
    found = instance.get_run_records(
        dg.RunsFilter(statuses=list(UNFINISHED)), limit=_RUNS_LOOKED_AT
    )
    runs = [each.dagster_run for each in found]
    busy: set[str] = set()
    for run in runs:
        for each in mappings:
            keys = {asset_key(name) for name in each.types}
            selected = run.asset_selection
            whole = selected is None and run.job_name in _EVERY_ASSET
            if whole or (selected is not None and keys & selected):
                busy.add(each.stream)
    return {run.job_name for run in runs}, busy


@dataclass
class Tick:
    """One look at the source."""

    context: dg.SensorEvaluationContext
    connections: Connections
    mappings: Sequence[Mapping[Any]]
    partitions: dg.TimeWindowPartitionsDefinition
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seen: list[dg.AssetObservation] = field(default_factory=list)

    def look_on(self, every_seconds: float, *, patience: Patience | None = None) -> dg.SensorResult:
        """A run request; or, after the tick's time without a reason for one, why there is none."""
        state = read_back_off(self.context.cursor)

        def look() -> dg.SensorResult:
            self.left_out.clear()
            self.problems.clear()
            return self._look(state)

        return look_on(look, self.context.instance, every_seconds=every_seconds, patience=patience)

    def _look(self, state: BackOff) -> dg.SensorResult:
        """A run request, or why there is none."""
        now = self.connections.clock()
        pulling, busy = self._runs()
        if pulling:
            return self._none(state, "A pull is queued or running.")
        self._learn(state, now.timestamp())
        if state.rests(EVERYTHING, now.timestamp()):
            return self._none(state, "Backing off after a failed pull.")
        try:
            with self.connections.manifest() as manifest:
                asked = self._asked(state, manifest, busy, now.timestamp())
                wait = seconds_between(self.connections.source(), len(asked), now)
                if now.timestamp() < state.asked_at + wait:
                    said = f"The source's limits leave room for a look every {wait:.0f} s."
                    return self._none(state, said)
                state.asked_at = now.timestamp()
                answers = list(probe(asked, self.connections, manifest))
                request = self._request(state, answers, manifest, now)
        except MigrationError as error:
            state.fail(EVERYTHING, now.timestamp(), by_run=False)
            return self._none(state, str(error))
        state.turn += len(answers)
        self.seen += self._observations(state, answers, now)
        said = self._said()
        if request is None:
            quiet = "No change past the marks." if any(not each.problem for each in answers) else ""
            return self._none(state, f"{quiet} {said}".strip() or "Nothing is there to be asked.")
        if said:
            self.context.log.warning(said)
        return dg.SensorResult([request], cursor=state.write(), asset_events=self.seen)

    def _none(self, state: BackOff, said: str) -> dg.SensorResult:
        """No run request, and what was learnt all the same."""
        return dg.SensorResult(skip_reason=said, cursor=state.write(), asset_events=self.seen)

    def _asked(
        self, state: BackOff, manifest: Manifest, busy: Collection[str], now: float
    ) -> list[Mapping[Any]]:
        """The streams to ask, those first that the last tick had no time for."""
        paused, adoption = manifest.pauses.standing(), self.connections.adoption()
        source = self.connections.source()
        asked = []
        for each in self.mappings:
            if not adoption.standing(each.resource_type).may_pull or not can_be_asked(
                source.stream(each.stream)
            ):
                continue
            why = ""
            if each.stream in paused:
                why = "Paused"
            elif manifest.high_water_mark(each.stream) is None:
                why = "No mark yet"
            elif each.stream in busy:
                why = "Another run is working on"
            elif state.rests(each.stream, now):
                why = "Resting after a failure"
            if why:
                self.left_out[why].append(each.resource_type)
            else:
                asked.append(each)
        first = state.turn % len(asked) if asked else 0
        return asked[first:] + asked[:first]

    def _request(
        self, state: BackOff, answers: Sequence[Probed], manifest: Manifest, now: datetime
    ) -> dg.RunRequest | None:
        due: set[str] = set()
        going = []
        for each in answers:
            stream = each.mapping.stream
            if each.problem:
                state.fail(stream, now.timestamp(), by_run=False)
                self.problems[each.problem].append(each.mapping.resource_type)
                continue
            if each.changed or state.owes(stream, now.timestamp()):
                due.add(stream)
            state.answered(stream)
            if not each.changed:
                note_current(manifest, stream, each.asked_at)
            going.append(each)
        if not due:
            return None
        taking_part = self._with_those_who_wait(due, manifest)
        going = [each for each in going if each.mapping.stream in taking_part]
        since = min(current_until(manifest, each.mapping.stream) or each.mark for each in going)
        names = {each.mapping.stream for each in going}
        return incremental_request(
            [each for each in self.mappings if each.stream in names],
            self.partitions,
            key_for(self.partitions, since - timedelta(days=1)),
            some=len(names) < len(self.mappings),
        )

    def _with_those_who_wait(self, due: set[str], manifest: Manifest) -> set[str]:
        """These streams and those whose rows wait for what they deliver, or for what that does."""
        found = due | manifest.waiting.unlinked()
        while True:
            types = {name for each in self.mappings if each.stream in found for name in each.types}
            further = manifest.waiting.streams(types) - found
            if not further:
                return found
            found |= further

    def _runs(self) -> tuple[bool, set[str]]:
        """Whether a pull is queued or running, and the streams that other runs are working on."""
        jobs, busy = streams_at_work(self.context.instance, self.mappings)
        return JOB in jobs, busy

    def _learn(self, state: BackOff, now: float) -> None:
        """What became of the last pull: whose step failed rests, whose step went well does not."""
        instance = self.context.instance
        last = instance.get_run_records(dg.RunsFilter(job_name=JOB), limit=1)
        run = last[0].dagster_run if last else None
        if run is None or run.run_id == state.counted:
            return
        state.counted = run.run_id
        by_step = {op_name(each): each.stream for each in self.mappings}
        steps = {
            by_step.get(each.step_key, ""): each.status.value if each.status else ""
            for each in instance.get_run_step_stats(run.run_id)
        }
        state.recover(stream for stream, status in steps.items() if status == "SUCCESS")
        failed = [stream for stream, status in steps.items() if stream and status == "FAILURE"]
        if run.status is dg.DagsterRunStatus.SUCCESS or failed:
            state.recover([EVERYTHING])
        if run.status is dg.DagsterRunStatus.FAILURE:
            for stream in failed or [EVERYTHING]:
                state.fail(stream, now, by_run=True)

    def _observations(
        self, state: BackOff, answers: Sequence[Probed], now: datetime
    ) -> list[dg.AssetObservation]:
        """What is seen of each stream, if it is not what was seen last: else a row every tick."""
        made = []
        for each in answers:
            stream = each.mapping.stream
            looks = "down" if each.problem else f"{each.mark.isoformat()} {each.news} {each.more}"
            if state.shown.get(stream) == looks:
                continue
            state.shown[stream] = looks
            behind = (now - each.mark).total_seconds() if each.changed else 0.0
            known = {"lag_seconds": round(max(0.0, behind), 3), "rows_not_on_account": each.news}
            made.append(
                dg.AssetObservation(
                    stream_key(stream),
                    metadata={
                        "answers": not each.problem,
                        "mark": dg.MetadataValue.timestamp(each.mark),
                        "rows_seen": each.rows,
                        **({} if each.problem else known),
                    },
                )
            )
        return made

    def _said(self) -> str:
        """Who was left out and why, who did not answer, and what mends it."""
        ways_out = {
            "Paused": "; `migration resume` lets them go on (see migration status)",
            "No mark yet": ": materialize their partitions first, then they are followed",
        }
        said = [
            f"{why}: {', '.join(names)}{ways_out.get(why, '')}."
            for why, names in self.left_out.items()
        ]
        said += [
            f"{', '.join(names)} did not answer: {problem}"
            for problem, names in list(self.problems.items())[:_PROBLEMS_SHOWN]
        ]
        return " ".join(said)
