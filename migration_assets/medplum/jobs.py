"""Jobs: batches that Medplum carries out in its own time (contract §9).

Belongs here: handing a batch in, asking for its end, fetching its result. Does not belong here:
what follows from an entry's answer, or from having lost a job. A job takes bodies of 50 MB and
waits for the quota by itself; transactions inside one are not atomic.
"""

import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable

import orjson
import requests

from migration_assets.errors import Transient
from migration_assets.medplum.wire import Ambiguous, Wire

_PREFER = {"Prefer": "respond-async"}  # exactly that: with anything added it runs at once
_NOT_FHIR = {"Accept": "*/*"}  # with FHIR's own, a Binary is described and its content left out
_JOB = re.compile(r"/job/([0-9A-Za-z-]+)/status")
_RESULT = re.compile(r"Binary/[0-9A-Za-z-]+")
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds between two looks; then the last again
_CANCELLED_LOOKS = 10  # a cancelled job may still run to its end, or say so for ever


class JobFailed(Ambiguous):
    """The job came to an end without a result; what it wrote until then only a search tells."""


@runtime_checkable
class RunsJobs(Protocol):
    """A FHIR server that takes batches as jobs."""

    def run_job(
        self, body: bytes, entries: int, *, keep_waiting: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        """Execute a batch in the server's own time; the response's entries."""


class Jobs:
    """Runs batches as jobs over one wire."""

    def __init__(self, wire: Wire, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._wire = wire
        self._sleep = sleep

    def run(self, body: bytes, *, keep_waiting: Callable[[], bool]) -> Any:
        """The parsed response to a batch; ``keep_waiting`` is asked before each look.

        Raises:
            Ambiguous: it was handed in, and what became of it is not known.
            JobFailed: it ended in an error; part of it may have been carried out.
            Transient, Unacceptable, Permanent: it was not taken.
        """
        answer = self._wire.answer(
            "POST", "", body, what="Handing in a batch as a job", headers=_PREFER
        )
        if answer.status_code == HTTPStatus.OK:  # carried out at once
            return _parsed(answer)
        if answer.status_code != HTTPStatus.ACCEPTED:
            raise self._wire.refusal(answer, "Handing in a batch as a job")
        # Only the id is taken: a server behind a proxy may name an address of its own.
        job = _JOB.search(answer.headers.get("Content-Location") or answer.text)
        if job is None:
            raise Ambiguous("A batch was taken as a job that was not named.")
        return self._result(self._ended(f"/job/{job[1]}/status", keep_waiting))

    def _ended(self, path: str, keep_waiting: Callable[[], bool]) -> dict[str, Any]:
        """The job once it is completed. Its own status counts: HTTP says 200 to failed ones too."""
        looks = cancelled = 0
        while keep_waiting() and cancelled < _CANCELLED_LOOKS:
            try:
                job = self._looked_at(path)
            except JobFailed:
                raise
            except Transient as error:
                pause = error.retry_after  # 429 says how long; anything else is asked again
            else:
                pause = None
                status = job.get("status")
                if status == "completed":
                    return job
                if status == "error":
                    raise JobFailed("A batch handed in as a job ended in an error.")
                cancelled += status == "cancelled"
            self._sleep(pause or _PAUSES[min(looks, len(_PAUSES) - 1)])
            looks += 1
        raise Ambiguous("A batch handed in as a job was not finished in time, or was cancelled.")

    def _looked_at(self, path: str) -> dict[str, Any]:
        what = "Asking for the end of a job"
        answer = self._wire.answer("GET", path, None, what=what)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise JobFailed("A batch handed in as a job is not known to Medplum any more.")
        if answer.status_code not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            raise self._wire.refusal(answer, what)
        job = _parsed(answer)
        return job if isinstance(job, dict) else {}

    def _result(self, job: dict[str, Any]) -> Any:
        found = _RESULT.search(orjson.dumps(job.get("output")).decode())
        if found is None:
            raise JobFailed("A completed job named no result.")
        what = "Fetching the result of a job"
        for pause in (*_PAUSES, None):
            try:
                answer = self._wire.answer(
                    "GET", f"/{found[0]}", None, what=what, headers=_NOT_FHIR
                )
                if answer.status_code != HTTPStatus.OK:
                    raise self._wire.refusal(answer, what)
                return _parsed(answer)
            except Transient as error:
                if pause is None:
                    raise Ambiguous(f"{what} failed for good.") from None
                self._sleep(error.retry_after or pause)
        raise AssertionError  # the last round returns or raises


def _parsed(answer: requests.Response) -> Any:
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        raise Ambiguous("A job was answered with something that is not JSON.") from None
