"""What a transformer Bot's answer means: a resource, a group, a skip, or why the row must wait.

Belongs here: the contract between a mapping and its Bot, read strictly. Does not belong here:
asking (``transforming``), or what holds for every mapping's resources (``preparation``). Pure.

- A resource, or a list or Bundle of them (a group, written together): of the mapping's types, the
  main one first, with the identifier of every mapping, and never written by the Bot itself.
- An OperationOutcome of severity error or fatal: quarantined. Its ``details.coding[0].code`` is the
  reason by which people count, ``expression[0]`` the field; texts are not read, they quote.
- An OperationOutcome of severity information, with such a code: left out on purpose.
- Anything else, and nothing at all, is no answer.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from migration_assets.mapping import Quarantined, Related, Resource, Skip

NOT_A_RESOURCE = "bot-answer-not-a-resource"
EMPTY = "bot-answer-empty"
OTHER_TYPE = "bot-answer-of-another-type"
WRITTEN = "bot-answer-was-written"
REFUSED = "bot-refused"

_REASON = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PATH = re.compile(r"[A-Za-z][\w.\[\]-]{0,120}")
_REASON_LENGTH = 64
_WRITTEN_META = ("versionId", "lastUpdated", "author")


def understood(answer: Any, types: Sequence[str]) -> Resource | Related | Skip:
    """What a row became by its Bot's answer.

    Raises:
        Quarantined: the Bot says so, or it is no answer that a mapping of ``types`` can use.
    """
    if answer is None:
        raise Quarantined(EMPTY)
    if isinstance(answer, dict) and answer.get("resourceType") == "OperationOutcome":
        return _outcome(answer)
    resources = _listed(answer)
    if not resources:
        raise Quarantined(EMPTY)
    for each in resources:
        _check(each, types)
    if resources[0]["resourceType"] != types[0]:
        raise Quarantined(OTHER_TYPE, types[0])
    return resources[0] if len(resources) == 1 else Related(tuple(resources))


def _listed(answer: Any) -> list[Any]:
    if isinstance(answer, dict) and answer.get("resourceType") == "Bundle":
        entries = answer.get("entry") or []
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise Quarantined(NOT_A_RESOURCE, "Bundle.entry")
        return [each.get("resource") for each in entries]
    return answer if isinstance(answer, list) else [answer]


def _check(resource: Any, types: Sequence[str]) -> None:
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(kind, str):
        raise Quarantined(NOT_A_RESOURCE)
    if kind not in types:
        raise Quarantined(OTHER_TYPE, types[0])
    meta = resource.get("meta")
    was_stored = isinstance(meta, dict) and any(name in meta for name in _WRITTEN_META)
    if "id" in resource or was_stored:
        # A Bot that writes by itself is on nobody's account: its records would be there twice.
        raise Quarantined(WRITTEN, f"{kind}.id" if "id" in resource else f"{kind}.meta")


def _outcome(outcome: Mapping[str, Any]) -> Skip:
    issue = _first(outcome.get("issue"))
    reason = str(_first(_mapping(issue.get("details")).get("coding")).get("code") or "")
    if len(reason) > _REASON_LENGTH or not _REASON.fullmatch(reason):
        reason = ""
    if issue.get("severity") in ("error", "fatal"):
        paths = issue.get("expression")
        path = str(paths[0]) if isinstance(paths, list) and paths else ""
        raise Quarantined(reason or REFUSED, path if _PATH.fullmatch(path) else "")
    if not reason:  # what the server itself says where a Bot said nothing
        raise Quarantined(EMPTY)
    return Skip(reason)


def _first(listed: Any) -> Mapping[str, Any]:
    return _mapping(listed[0]) if isinstance(listed, list) and listed else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
