"""Bots of a Medplum project, as a mapping's transformer: finding one, and executing it.

Belongs here: the two requests, and what an answer of the server means. Does not belong here: what a
Bot's own answer means (``steps.bot_answers``), or when it is asked (``steps.transforming``).

Read in Medplum's source, not observed: what a Bot returns is the body, as it is, with 200. One that
throws is answered 400, with what its runtime says of it: a Lambda's ``errorMessage``, which may
quote the row and is not kept, or an OperationOutcome. With 400 is answered, too, that no Bot may
run in this project at all: only the outcome's text tells, and these are known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, runtime_checkable

import orjson

from migration_assets.errors import Permanent, Quarantine, Transient
from migration_assets.fhir.identifiers import search_token
from migration_assets.mapping import Bot
from migration_assets.medplum.quota import Pacer
from migration_assets.medplum.wire import Wire

EXECUTE_POINTS = 1  # it reads the Bot; what the Bot does counts against its own membership
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_CANNOT_RUN = frozenset(
    {
        "Bots not enabled",
        "Unsupported bot runtime",
        "VM Context bots not enabled on this server",
        "No executable code",
        "Executable code is not a Binary",
    }
)
_BUSY = "Rate Exceeded."
"""A Lambda account at its limit of concurrent executions."""
_TIMED_OUT = re.compile(r"(Task|Script execution) timed out")
_ERROR_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,60}")


@dataclass(frozen=True)
class FoundBot:
    """A Bot as the project holds it; ``hindrance`` says why it cannot run, as far as it shows."""

    id: str
    version_id: str
    hindrance: str | None = None


class Searches(Protocol):
    """What finding a Bot needs of a FHIR server."""

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """The resources a search finds."""


@runtime_checkable
class RunsBots(Searches, Protocol):
    """A FHIR server that executes Bots; ``MedplumClient`` is one."""

    def execute_bot(self, bot_id: str, body: bytes) -> Any:
        """What the Bot said of a row; raises as ``Bots.execute``."""


def find_bot(fhir: Searches, bot: Bot) -> FoundBot:
    """The project's Bot, by search: 20 points.

    Raises:
        Permanent: there is none, or more than one.
        Transient: Medplum does not answer.
    """
    system, _, value = (bot.identifier or "").partition("|")
    wanted = {"_id": bot.id} if bot.id else {"identifier": search_token(system, value)}
    found = fhir.search("Bot", wanted)
    if len(found) != 1:
        raise Permanent(
            f"Looking for the Bot {bot.name}: the project holds {len(found) or 'none'} that this "
            "client may read. Deploy it (`migration bots deploy`), or correct the mapping's "
            "transformer."
        )
    held = found[0]
    hindrance = None
    if not held.get("runtimeVersion"):
        hindrance = "it has no runtimeVersion"
    elif not (held.get("executableCode") or {}).get("url"):
        hindrance = "no code was deployed to it"
    return FoundBot(str(held["id"]), str(held["meta"]["versionId"]), hindrance)


class Bots:
    """Executes Bots over one wire; several threads may share it."""

    def __init__(self, wire: Wire, pacer: Pacer) -> None:
        self._wire = wire
        self._pacer = pacer

    def execute(self, bot_id: str, body: bytes) -> Any:
        """What the Bot said, parsed; None where it said nothing.

        Raises:
            Quarantine: ``bot-failed``, ``bot-timed-out``, ``bot-answer-not-json``.
            Transient: no answer, throttled, or the server failed on it.
            Permanent: this Bot cannot run, whatever the row.
        """
        with self._pacer.reserve(EXECUTE_POINTS):
            what = "Executing a Bot"
            answer = self._wire.answer(
                "POST", f"/Bot/{bot_id}/$execute", body, what=what, headers=_JSON
            )
            if answer.status_code == HTTPStatus.OK:
                return _said(answer.content)
            if answer.status_code == HTTPStatus.BAD_REQUEST:
                raise _failure(answer.content)
            if answer.status_code in _GONE:
                raise Permanent(
                    f"{what} was answered {answer.status_code}: it is no longer there, or this "
                    "client may not read it."
                )
            raise self._wire.refusal(answer, what)


def _said(content: bytes) -> Any:
    if not content.strip():
        return None
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise Quarantine("bot-answer-not-json") from None


def _failure(content: bytes) -> Exception:
    """What a 400 means: the row's failure, or that no row will ever be taken."""
    try:
        told = orjson.loads(content)
    except orjson.JSONDecodeError:
        told = {}
    told = told if isinstance(told, dict) else {}
    issue: Mapping[str, Any] = next(iter(told.get("issue") or ()), {})
    text = str((issue.get("details") or {}).get("text") or "")
    if text in _CANNOT_RUN:
        return Permanent(
            f"Executing a Bot was refused: {text}. A super admin adds the feature bots to the "
            "project; the Bot needs a runtimeVersion and code that was deployed."
        )
    if text == _BUSY:
        return Transient("Executing a Bot was refused: too many are running. Lower `at_once`.")
    if _TIMED_OUT.search(text) or _TIMED_OUT.search(str(told.get("errorMessage") or "")):
        return Quarantine("bot-timed-out")
    kind = str(told.get("errorType") or "")
    return Quarantine("bot-failed", kind if _ERROR_TYPE.fullmatch(kind) else "")
