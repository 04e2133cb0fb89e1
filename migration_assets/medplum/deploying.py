"""Deploying Bots: one by its identifier is created or found, and given its code.

Belongs here: the requests, in an order that may be cut off anywhere. Does not belong here: building
code, or naming Bots (``migration bots deploy``).

Every deployment is a new version of the Bot, and for a mapping that it transforms for a new version
of everything: so the same code is not deployed twice. What was deployed last is kept as a tag,
which is set last; Medplum keeps it across deployments.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from migration_assets.errors import Permanent
from migration_assets.fhir.identifiers import search_token
from migration_assets.mapping import Bot
from migration_assets.medplum.bots import Searches, find_bot
from migration_assets.medplum.quota import WRITE_POINTS, Pacer
from migration_assets.medplum.wire import Wire

CODE_TAG = "https://migration-assets.example/deployed-code"
_GOOD = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})
_PATCH = {"Content-Type": "application/json-patch+json"}


@dataclass(frozen=True)
class Deployed:
    """A Bot with its code; ``event``: created, deployed, or unchanged."""

    id: str
    version_id: str
    event: str


class Deployments:
    """Deploys over one wire."""

    def __init__(self, wire: Wire, pacer: Pacer) -> None:
        self._wire = wire
        self._pacer = pacer

    def deploy(self, fhir: Searches, bot: Bot, name: str, code: str, runtime: str) -> Deployed:
        """Create the Bot if it is not there, and give it ``code`` if it has another.

        Raises:
            Permanent: the client may not, the project has no Bots, or several by this name.
            Transient: no answer; what was done is found again.
        """
        system, _, value = (bot.identifier or "").partition("|")
        held = fhir.search("Bot", {"identifier": search_token(system, value)})
        event = "deployed"
        if not held:
            event = "created"
            held = [self._create(system, value, name, runtime)]
        if len(held) > 1:
            find_bot(fhir, bot)  # says that there are several
        number = str(held[0]["id"])
        print_ = hashlib.sha256(code.encode()).hexdigest()
        tags = (held[0].get("meta") or {}).get("tag") or []
        if any(each.get("system") == CODE_TAG and each.get("code") == print_ for each in tags):
            return Deployed(number, str(held[0]["meta"]["versionId"]), "unchanged")
        content = {"code": code, "filename": "index.cjs"}
        self._send("POST", f"/Bot/{number}/$deploy", content, what="Deploying a Bot")
        others = [each for each in tags if each.get("system") != CODE_TAG]
        tag = [{"op": "add", "path": "/meta/tag", "value": [*others, _tag(print_)]}]
        self._send("PATCH", f"/Bot/{number}", tag, what="Noting a Bot's code", headers=_PATCH)
        return Deployed(number, find_bot(fhir, Bot(id=number)).version_id, event)

    def _create(self, system: str, value: str, name: str, runtime: str) -> dict[str, Any]:
        bot = {
            "resourceType": "Bot",
            "identifier": [{"system": system, "value": value}],
            "name": name,
            "runtimeVersion": runtime,
            # Else each execution is one more AuditEvent resource in the project.
            "auditEventDestination": ["log"],
        }
        return self._send("POST", "/Bot", bot, what="Creating a Bot")

    def _send(
        self,
        method: str,
        path: str,
        content: Any,
        *,
        what: str,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        with self._pacer.reserve(WRITE_POINTS):
            body = orjson.dumps(content)
            answer = self._wire.answer(method, path, body, what=what, headers=headers)
            if answer.status_code == HTTPStatus.BAD_REQUEST:
                raise Permanent(
                    f"{what} was refused (400). Is the feature bots on in the project? A super "
                    "admin adds it; does this client's AccessPolicy permit Bot and Binary?"
                )
            if answer.status_code not in _GOOD:
                raise self._wire.refusal(answer, what)
        told: dict[str, Any] = orjson.loads(answer.content)
        return told


def _tag(code: str) -> dict[str, str]:
    return {"system": CODE_TAG, "code": code}
