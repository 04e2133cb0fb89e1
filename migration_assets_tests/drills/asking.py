"""What a person asks of an installation, and what its run storage says.

Belongs here: GraphQL as the UI sends it, waits for runs, where a run was. Does not belong here: the
processes of the installation, or what is killed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import requests

from migration_assets.mappings import discover
from migration_assets_tests.drills.processes import until

_LAUNCH = """
mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_BACKFILL = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_REEXECUTE = """
mutation ($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_SENSOR = """
mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
  __typename ... on Sensor { name } ... on PythonError { message } } }"""
_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


@dataclass(kw_only=True)
class Asked:
    """GraphQL and the run storage, of one moment of a test."""

    instance: dg.DagsterInstance
    answer: Callable[[str, Mapping[str, object]], Any]

    def query(self, text: str, variables: Mapping[str, object]) -> dict[str, Any]:
        """The one answer of a query; fails on anything but success."""
        answer = self.answer(text, variables)
        assert "errors" not in answer, answer
        (found,) = answer["data"].values()
        assert found["__typename"].endswith(("Success", "Sensor")), found
        return dict(found)

    def launch(
        self,
        first: str,
        last: str,
        tags: Mapping[str, str] | None = None,
        types: Sequence[str] = (),
    ) -> str:
        """One run of every type, or of these, over a range of partitions; its id."""
        span = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        span = ({"dagster/partition": first} if first == last else span) | dict(tags or {})
        chosen = [{"path": ["medplum", each]} for each in types]
        params = {
            "selector": {
                "repositoryLocationName": "migration_assets",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                **({"assetSelection": chosen, "assetCheckSelection": None} if chosen else {}),
            },
            "mode": "default",
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in span.items()]},
        }
        run_id = self.query(_LAUNCH, {"params": params})["run"]["runId"]
        return str(run_id)

    def backfill(self, partitions: Sequence[str], types: Sequence[str] = ()) -> str:
        """A backfill of every type, or of these, as the dialog launches it; its id."""
        known = types or [name for each in discover().values() for name in each.types]
        params = {
            "assetSelection": [{"path": ["medplum", each]} for each in known],
            "partitionNames": list(partitions),
        }
        return str(self.query(_BACKFILL, {"params": params})["backfillId"])

    def reexecuted(self, run_id: str) -> str:
        """The run again from where it failed, as the button does it; the new run's id."""
        params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        answer = self.query(_REEXECUTE, {"params": params})
        return str(answer["run"]["runId"])

    def runs(self) -> list[dg.DagsterRun]:
        """Every run, newest first."""
        return [each.dagster_run for each in self.instance.get_run_records()]

    def runs_of(self, backfill: str) -> set[str]:
        """The runs that a backfill started."""
        return {e.run_id for e in self.runs() if e.tags.get("dagster/backfill") == backfill}

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """How a run stands."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def all_ended(self, seconds: float = 150) -> list[dg.DagsterRun]:
        """Every run, once none is queued or under way any more."""

        def ended() -> list[dg.DagsterRun] | None:
            runs = self.runs()
            return runs if runs and all(each.status in _ENDED for each in runs) else None

        return until(ended, "every run has ended", seconds)

    def ended(self, run_id: str, seconds: float = 150) -> dg.DagsterRunStatus:
        """How a run ended."""
        return until(
            lambda: s if (s := self.status(run_id)) in _ENDED else None, "the run ends", seconds
        )

    def start_sensor(self, name: str) -> None:
        """Turn a sensor on, as its switch in the UI does."""
        selector = {
            "repositoryLocationName": "migration_assets",
            "repositoryName": "__repository__",
            "sensorName": name,
        }
        assert self.query(_SENSOR, {"selector": selector})["name"] == name

    def ended_all(self, run_ids: Sequence[str]) -> dict[str, dg.DagsterRunStatus] | None:
        """How these runs ended, once all have."""
        found = {each: self.status(each) for each in run_ids}
        return found if all(each in _ENDED for each in found.values()) else None

    def process_of(self, run_id: str) -> int:
        """The process in which a run was."""
        for entry in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED):
            if found := re.search(r"pid: (\d+)", entry.user_message + str(entry.dagster_event)):
                return int(found[1])
        raise AssertionError(f"{run_id} did not say where it was")

    def retry_of(self, run_id: str, seconds: float = 150) -> str:
        """The run that was started in the place of this one."""

        def found() -> str | None:
            children = (each for each in self.runs() if each.parent_run_id == run_id)
            return next((each.run_id for each in children), None)

        try:
            return until(found, "the run is tried again", seconds)
        except AssertionError:
            run = self.instance.get_run_by_id(run_id)
            raise AssertionError(
                f"{run_id} is not tried again; {run and dict(run.tags)}\n{self.told(run_id)}"
            ) from None

    def told(self, run_id: str) -> str:
        """A run's events, with when they were written."""
        return "\n".join(
            f"{each.timestamp:.3f} {each.dagster_event_type} {each.message}"
            for each in self.instance.all_logs(run_id)
        )

    def handed_over(self, run_id: str) -> None:
        """Wait until the launcher has given a run to the broker, and writes nothing of it more."""
        until(
            lambda: "has been forwarded to the broker" in self.told(run_id),
            "the run is handed over",
        )

    def assert_nothing_is_held(self) -> None:
        """No pool slot is taken, by the dead or the living."""
        storage = self.instance.event_log_storage
        for pool in storage.get_concurrency_keys():
            info = storage.get_concurrency_info(pool)
            assert info.active_slot_count == 0, pool
            assert info.pending_step_count == 0, pool


@contextmanager
def over_http(url: str) -> Iterator[Asked]:
    """The same asked of a webserver, as a browser does."""

    def answer(text: str, variables: Mapping[str, object]) -> Any:
        body = {"query": text, "variables": variables}
        return requests.post(f"{url}/graphql", json=body, timeout=60).json()

    with dg.DagsterInstance.get() as instance:
        yield Asked(instance=instance, answer=answer)
