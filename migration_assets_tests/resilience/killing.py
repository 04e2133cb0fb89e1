"""Kill a migrating process again and again, and see the law hold after the next undisturbed run.

Belongs here: when and where it is killed, and how often.
"""

import os
from dataclasses import dataclass, field
from random import Random
from typing import Any

from migration_assets_tests.resilience.life import SPOTS
from migration_assets_tests.resilience.nursery import Ended, Nursery
from migration_assets_tests.resilience.world import World

KILLS = int(os.environ.get("MIGRATION_TEST_KILLS", "208"))
"""In the whole suite, over two worlds on each database."""
_ON_POSTGRES = 8  # one kill of so many, in each of its two worlds: one costs twice as much there
SEED = os.environ.get("MIGRATION_TEST_KILL_SEED", "2026")
_ACTS = ("window", "incremental", "sweep", "remap", "undo", "redeliver", "incremental", "mend")
_IN_A_ROW = 8  # kills between two undisturbed runs, at most


@dataclass
class Killer:
    """Kills by turns at a named spot and after a time, both drawn from the seed."""

    world: World
    nursery: Nursery
    random: Random
    killed: int = 0
    missed: int = 0
    passed: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    """What was lived, for whoever has to find out why the law was broken."""

    def kill(self, times: int) -> None:
        """Until so many were killed; the law is looked at after every few of them."""
        for act in ("window", "undo", "mend"):
            self._live(act, warms=True)
        self.undisturbed()
        while self.killed < times:
            for _ in range(self.random.randint(1, _IN_A_ROW)):
                self._one()
            self.undisturbed()

    def undisturbed(self) -> None:
        """What a person would do next: run again, and let nothing lie about."""
        assert not self._live("mend").killed
        try:
            self.world.check()
        except AssertionError as error:
            error.add_note("\n".join(self.story))
            raise

    def _one(self) -> None:
        act = self.random.choice(_ACTS)
        if act == "remap":
            self.world.version += 1
        for _ in range(self.random.randint(1, 4)):
            self.world.something_happens()
        if self.random.random() < 0.6:
            fate: dict[str, Any] = {"spot": self.random.choice(SPOTS)}
            most = self.passed.get(act, {}).get(fate["spot"], 40)
            ended = self._live(act, at=self.random.randint(1, max(1, most)), **fate)
        else:
            after = self.random.uniform(0.005, self.seconds.get(act, 0.3))
            ended = self._live(act, kill_after=after)
        # A life that was over before its time counts for nothing.
        self.killed += ended.killed
        self.missed += not ended.killed

    def _live(self, act: str, *, kill_after: float | None = None, **fate: Any) -> Ended:
        ended = self.nursery.live(self.world.life(act, **fate), kill_after=kill_after)
        # An hour passes before the next: Medplum has finished what it got.
        self.world.sandbox.settle()
        assert ended.killed or not ended.failed, ended.failed
        self.story.append(f"{act} {kill_after or fate} {'killed' if ended.killed else 'whole'}")
        if not ended.killed and not fate.get("warms"):
            self.passed[act] = ended.passed
            self.seconds[act] = ended.seconds
        return ended


def share(database: str) -> int:
    """How many kills each of the two worlds on a database has of all."""
    there = -(-KILLS // _ON_POSTGRES)
    return there if database == "postgres" else -(-(KILLS - 2 * there) // 2)
