"""A sensor's tick that looks on, where the daemon itself would look again in five seconds.

Belongs here: for how long and how often. Does not belong here: what is looked at.

Where the daemon evaluates sensors in threads, as the shipped dagster.yaml has it, a tick that sees
no reason for a run looks again until ``SECONDS`` have passed: the daemon starts ticks at five
seconds, ten, fifteen, and no sooner. Without threads the other sensors would wait for this one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

SECONDS = 9.0
"""The daemon starts the next tick at ten; whoever stops it waits for this one to end."""


@dataclass(frozen=True)
class Patience:
    """How long time is and how it passes; tests hand over other clocks."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def look_on(
    look: Callable[[], dg.SensorResult],
    instance: dg.DagsterInstance,
    *,
    every_seconds: float,
    patience: Patience | None = None,
) -> dg.SensorResult:
    """The first look that asks for a run; or, when the tick's time has passed, the last."""
    passing = patience or Patience()
    threads = instance.get_sensor_settings().get("use_threads")
    until = passing.monotonic() + (SECONDS if threads else 0.0)
    while True:
        result = look()
        if result.run_requests or passing.monotonic() + every_seconds >= until:
            return result
        passing.sleep(every_seconds)
