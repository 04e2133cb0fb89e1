"""Lanes: how many bundles are under way at once.

Belongs here: threads, and when more of them pay. Does not belong here: which entries may run
beside others (``Packed.parallel``), or what their answers mean. Everything but the request itself
happens in the calling thread.

Writes by id and plain creates do not collide in Medplum; but other clients write too, and a
conflict costs more than a lane gains (contract §3: four lanes of creates were slower than one).
So the width falls to one at the first conflict, and grows while entries per second do.
"""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Self

from migration_assets.errors import MigrationError
from migration_assets.medplum.bundles import Packed

Entries = list[dict[str, Any]]
Post = Callable[[], Entries]

_SAMPLE = 3  # bundles per lane before its rate is believed
_PAYS = 1.1  # a further lane must bring a tenth more, or it is given back
_PATIENCE = 10  # samples at one width before another lane is tried again


class Width:
    """How many lanes are worth having now, by the entries per second they brought."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self.now = 1
        self._rates: dict[int, float] = {}
        self._settled = 0
        self._restart()

    def _restart(self) -> None:
        self._began = self._clock()
        self._entries = 0
        self._bundles = 0

    def answered(self, entries: int, *, trouble: bool) -> None:
        """Take note of a bundle's answer; ``trouble`` is a conflict, a lost race or no answer."""
        if trouble:
            self.now = 1
            self._rates.clear()
            self._settled = _PATIENCE
            self._restart()
            return
        self._entries += entries
        self._bundles += 1
        seconds = self._clock() - self._began
        if self._bundles < _SAMPLE * self.now or seconds <= 0:
            return
        self._rates[self.now] = self._entries / seconds
        self._restart()
        if self._settled:
            self._settled -= 1
            return
        fewer = self._rates.get(self.now - 1)
        if fewer is not None and self._rates[self.now] < fewer * _PAYS:
            self.now -= 1
            self._settled = _PATIENCE
        else:
            self.now = min(self._most, self.now + 1)


class Lanes:
    """Bundles under way. With one lane at most, each is sent in the calling thread."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self.width = Width(most, clock)
        self._pool = ThreadPoolExecutor(most, "medplum-lane") if most > 1 else None
        self._under_way: dict[Future[Entries], list[Packed]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def busy(self) -> bool:
        """Whether any bundle is under way."""
        return bool(self._under_way)

    def room_for(self, packed: Packed) -> bool:
        """Whether a bundle that begins with this entry may leave now.

        What may collide travels alone: nothing else is under way, and nothing joins it.
        """
        if not self._under_way:
            return True
        alone = any(not taken[0].parallel for taken in self._under_way.values())
        return packed.parallel and not alone and len(self._under_way) < self.width.now

    def send(self, taken: list[Packed], post: Post) -> None:
        """Let a bundle leave; its answer comes by ``answer``."""
        if self._pool is not None:
            self._under_way[self._pool.submit(post)] = taken
            return
        future: Future[Entries] = Future()
        try:
            future.set_result(post())
        except MigrationError as error:
            future.set_exception(error)
        self._under_way[future] = taken

    def answer(self) -> tuple[list[Packed], Entries | MigrationError]:
        """The next bundle that was answered, and with what; waits for one.

        Raises:
            BaseException: whatever else ended the request.
        """
        first = next(iter(wait(self._under_way, return_when=FIRST_COMPLETED).done))
        taken = self._under_way.pop(first)
        try:
            return taken, first.result()
        except MigrationError as error:
            return taken, error
