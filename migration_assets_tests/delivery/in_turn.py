"""Lanes without threads: the same case goes the same way every time, however many are open.

A bundle is carried out as it leaves, in the calling thread; which of those under way is heard of
first is drawn by the case's own seed. Real threads are ``medplum/test_lanes``'s, and exploring's.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class Done:
    """What ``concurrent.futures.wait`` answers, as far as lanes look at it."""

    done: list[Future[Any]]


class InTurn:
    """Stands in for ``ThreadPoolExecutor``: what is submitted is done at once."""

    def __init__(self, _most: int, _name: str) -> None:
        """As many threads as one likes; none is started."""

    def submit(self, post: Callable[[], Any]) -> Future[Any]:
        """Do it; the future tells how it ended, a crash included."""
        future: Future[Any] = Future()
        try:
            future.set_result(post())
        except BaseException as error:  # noqa: BLE001 - as the executor's own threads do
            future.set_exception(error)
        return future

    def shutdown(self) -> None:
        """Nothing is under way."""


def heard_in_any_order(seed: int) -> Callable[..., Done]:
    """Stands in for ``wait``: any one of those under way, drawn."""
    dice = Random(seed)  # noqa: S311 - the same order for the same seed

    def wait(under_way: Iterable[Future[Any]], *, return_when: str) -> Done:
        del return_when
        return Done([dice.choice(list(under_way))])

    return wait
