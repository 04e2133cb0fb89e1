"""One life of a migrating process: it does one thing to the account, and may be killed anywhere.

Belongs here: what a life does, and the named spots at which it kills or stops itself. Does not
belong here: who decides that (``nursery``), or what must hold afterwards (``world``).

Run as a program it is a fork server: every life is a fork of it, but for those that warm it up. A
life then costs what it does and not what it imports, compiles and remembers. The spots are counted
at the seams below our code: requests before they leave and after they are answered, commits before
and after.
"""

import gc
import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import sqlalchemy as sa
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.legacy import Puller, load_description
from migration_assets.manifest import Choice, Decision, Manifest, Selection, State
from migration_assets.manifest.history import WRITES
from migration_assets.mapping import Mapping, Skip
from migration_assets.medplum import MedplumClient
from migration_assets.operations.redelivering import redeliver
from migration_assets.operations.undoing import Desk, undo
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets.sweeping import sweep
from migration_assets_tests.delivery.clinic import mappings

SPOTS = ("request", "answer", "commit", "committed")
_DESCRIPTION = """
name: killed
base_url: {url}
auth: {{type: none}}
defaults:
  path: "{{stream}}"
  select: rows
  id: id
  pager: {{type: next_url, path: next, keyset: true}}
  cursor: {{field: at, param: since, tz: UTC, precision_seconds: 0.001, lookback_seconds: 1}}
  tombstone: {{path: deleted_at}}
  volatile: [at]
  confirm: "{{stream}}/{{id}}"
streams: []
"""


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a life does: ``act`` on the account at ``manifest_url``, ``hours`` after the start.

    ``spot`` and ``at``: where it gets ``fate`` from itself, at the how-manieth passing of the spot.
    ``warms``: it is lived by the fork server itself, and cannot be killed.
    """

    act: str
    manifest_url: str
    source_url: str
    medplum_url: str
    client_id: str
    secret: str
    hours: int
    exclusive: bool = False
    version: int = 1
    spot: str = ""
    at: int = 0
    fate: int = int(signal.SIGKILL)
    warms: bool = False

    def to_line(self) -> str:
        """As the fork server reads it."""
        return json.dumps(asdict(self)) + "\n"


def versioned(version: int) -> tuple[Mapping[Any], ...]:
    """The clinic's mappings; every version writes another language into what it makes."""

    def build(before: Callable[[Any], Any], row: Any) -> Any:
        made = before(row)
        if isinstance(made, Skip):
            return made
        if isinstance(made, dict):
            return in_version(made, version)
        return replace(made, resources=tuple(in_version(r, version) for r in made.resources))

    return tuple(
        replace(each, version=str(version), build=_Versioned(build, each.build))
        for each in mappings(marks=False)
    )


def in_version(resource: dict[str, Any], version: int) -> dict[str, Any]:
    """What that version of the mapping adds."""
    return {**resource, "language": f"x-v{version}"}


@dataclass(frozen=True)
class _Versioned:
    build: Callable[[Callable[[Any], Any], Any], Any]
    before: Callable[[Any], Any]

    def __call__(self, row: Any) -> Any:
        return self.build(self.before, row)


def live(life: Life) -> None:
    """Do it, through the real parts."""
    started = datetime.now(UTC)

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(hours=life.hours)

    description = load_description(_DESCRIPTION.format(url=life.source_url))
    puller = Puller(description, environ={})
    medplum = MedplumClient(life.medplum_url, life.client_id, SecretStr(life.secret))
    manifest = Manifest(life.manifest_url, clock=clock)
    with closing(manifest), closing(medplum), closing(puller):
        number = manifest.start_run(life.act, pipeline_version="0")
        strategy = "exclusive" if life.exclusive else "shared"
        phases = "".join(
            f"[{each.resource_type}]\nphase = 'backfill'\nstrategy = '{strategy}'\n"
            for each in versioned(life.version)
        )
        run = Run(
            id=number,
            label=life.act,
            manifest=manifest,
            puller=puller,
            adoption=read_adoption(phases),
            fhir=medplum,
            deadline_seconds=60,
        )
        ACTS[life.act](run, versioned(life.version), started)
        manifest.finish_run(number)


def _window(run: Run, each: Mapping[Any], _started: datetime) -> None:
    land(run, each, Window(None, None))
    migrate(run, each)


def _incremental(run: Run, each: Mapping[Any], _started: datetime) -> None:
    mark = run.manifest.high_water_mark(each.stream)
    land(run, each, Window(mark, None, way=Way.INCREMENTAL))
    migrate(run, each)


def _sweep(run: Run, each: Mapping[Any], _started: datetime) -> None:
    sweep(run, each, allow_missing=100)
    migrate(run, each)


def _remap(run: Run, each: Mapping[Any], _started: datetime) -> None:
    run.manifest.remapping.reopen_outdated(each.stream, each.version)
    migrate(run, each)


def _of_each(
    act: Callable[[Run, Mapping[Any], datetime], None],
) -> Callable[[Run, tuple[Mapping[Any], ...], datetime], None]:
    def of_each(run: Run, every: tuple[Mapping[Any], ...], started: datetime) -> None:
        for each in every:
            act(run, each, started)

    return of_each


def _undo(run: Run, every: tuple[Mapping[Any], ...], _started: datetime) -> None:
    """Of the last run that wrote anything: again and again, until one of them is not killed."""
    wrote = [
        each
        for each in run.manifest.history.latest_runs(9)
        if any(event in WRITES for _kind, event, _number in each.wrote)
    ][:1]
    assert run.fhir is not None
    desk = Desk(
        manifest=run.manifest,
        fhir=run.fhir,
        adoption=run.adoption,
        mappings={each.resource_type: each for each in every},
        deadline_seconds=60,
        run_id=run.id,
    )
    undo(desk, wrote)


def _redeliver(run: Run, every: tuple[Mapping[Any], ...], _started: datetime) -> None:
    _try_again(run, every)
    for each in every:
        migrate(run, each)


def _mend(run: Run, every: tuple[Mapping[Any], ...], started: datetime) -> None:
    _try_again(run, every)
    for each in every:
        run.manifest.remapping.reopen_outdated(each.stream, each.version)
        _sweep(run, each, started)


def _try_again(run: Run, every: tuple[Mapping[Any], ...]) -> None:
    failed = Selection(states=(State.QUARANTINED, State.REJECTED))
    said = Decision(by="test", choice=Choice.REDELIVER, approver="test", overwrites=True)
    redeliver(run, every, failed, said)


ACTS: dict[str, Callable[[Run, tuple[Mapping[Any], ...], datetime], None]] = {
    "window": _of_each(_window),
    "incremental": _of_each(_incremental),
    "sweep": _of_each(_sweep),
    "remap": _of_each(_remap),
    "undo": _undo,
    "redeliver": _redeliver,
    "mend": _mend,
}


def arm(life: Life) -> Counter[str]:
    """Count the spots as they are passed, and get the fate at the one that is meant."""
    passed: Counter[str] = Counter()

    def passing(spot: str) -> None:
        passed[spot] += 1
        if spot == life.spot and passed[spot] == life.at:
            os.kill(os.getpid(), life.fate)

    send = requests.adapters.HTTPAdapter.send

    def spied(*arguments: Any, **named: Any) -> Any:
        passing("request")
        answer = send(*arguments, **named)
        passing("answer")
        return answer

    requests.adapters.HTTPAdapter.send = spied  # type: ignore[method-assign]  # of this process
    commit = sa.engine.default.DefaultDialect.do_commit

    def committing(*arguments: Any, **named: Any) -> None:
        passing("commit")
        commit(*arguments, **named)  # type: ignore[no-untyped-call]  # theirs
        passing("committed")

    sa.engine.default.DefaultDialect.do_commit = committing  # type: ignore[method-assign]
    return passed


def _born(life: Life) -> None:
    """A life, from its fork to its exit; what it passed is told at the end."""
    passed = arm(life)
    try:
        live(life)
    except BaseException:  # noqa: BLE001 - a life that ends badly says why
        _tell({"failed": traceback.format_exc()})
        os._exit(1)
    _tell({"passed": dict(passed)})
    os._exit(0)


def _tell(what: dict[str, Any]) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


def serve() -> None:
    """Fork a life for each line; tell its number first, and how it ended last."""
    gc.disable()  # a life is short, and looking at all it inherited would copy it
    for line in sys.stdin:
        life = Life(**json.loads(line))
        if life.warms:
            _tell({"pid": os.getpid()})
            live(life)
            _tell({"ended": 0})
            continue
        child = os.fork()
        if child == 0:
            _born(life)
        _tell({"pid": child})
        _, status = os.waitpid(child, 0)
        _tell({"ended": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    serve()
