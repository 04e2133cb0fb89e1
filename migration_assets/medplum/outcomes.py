"""What Medplum's answers mean: the contract's status codes and texts, read once, named here.

Belongs here: parsing an answer and deciding whether trying again may clear it (contract §2-§8).
Does not belong here: trying again. OperationOutcome texts are compared, never kept: they quote
identifiers.
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Contract §3: a 400 with one of these texts is a lost race, not a bad record.
_LOST_RACE = re.compile(r"Resource ID did not match resolved ID|Assigned ID is already in use")
_SERIALIZATION_FAILURE = "40001"
_MATCHED_SEVERAL = re.compile(r"Conditional [A-Z]+ matched multiple resources")
"""What a bundle's conditional write is refused with, with 400 (contract §6); others get a 412."""
_STALE_PATCH = re.compile(r"Test failed")
"""How the patch library of the server says that a ``test`` did not hold: our version is old."""


class Fate(enum.Enum):
    """What is to become of an entry after this answer."""

    DONE = "done"
    RETRY = "retry"  # a lost race or a server fault: again, soon
    WAIT = "wait"  # throttled: again, when the quota is back
    EDITED = "edited"  # 412 on If-Match: somebody wrote it in Medplum, or our own lost answer did
    DUPLICATE = "duplicate"  # more than one resource carries the identifier
    GONE = "gone"  # the id we hold is deleted or unknown in Medplum
    REFUSED = "refused"  # final


_BY_STATUS = {"429": Fate.WAIT, "404": Fate.GONE, "410": Fate.GONE}


@dataclass(frozen=True)
class Outcome:
    """Medplum's answer to one entry, without its texts.

    ``code`` is the issue code; ``expression`` the element path it names; ``wait`` seconds until
    the quota is back, when it said so.
    """

    status: str
    fate: Fate
    code: str | None = None
    expression: str | None = None
    wait: float | None = None
    fhir_id: str | None = None
    version_id: str | None = None


def entry_outcome(entry: Mapping[str, Any]) -> Outcome:
    """The outcome of one entry of a batch-response or transaction-response."""
    response = entry.get("response") or {}
    status = str(response.get("status") or "").split(" ")[0]
    if status.startswith("2"):
        resource = entry.get("resource") or {}
        location = str(response.get("location") or "")
        fhir_id = resource.get("id") or (location.split("/")[1] if "/" in location else None)
        return Outcome(
            status,
            Fate.DONE,
            fhir_id=fhir_id,
            version_id=(resource.get("meta") or {}).get("versionId"),
        )
    return failure(status, response.get("outcome") or {})


def failure(status: str, outcome: Mapping[str, Any]) -> Outcome:
    """The outcome of an entry, or of a whole request, that did not succeed."""
    issue: Mapping[str, Any] = next(iter(outcome.get("issue") or ()), {})
    details = issue.get("details") or {}
    text = str(details.get("text") or "")
    coding: Mapping[str, Any] = next(iter(details.get("coding") or ()), {})
    expression = next(iter(issue.get("expression") or ()), None)
    return Outcome(
        status,
        _fate(status, str(outcome.get("id") or ""), str(issue.get("code") or ""), text, coding),
        code=issue.get("code"),
        expression=expression,
        wait=_named_wait(issue),
    )


def _fate(status: str, outcome_id: str, code: str, text: str, coding: Mapping[str, Any]) -> Fate:
    lost_race = status == "400" and _LOST_RACE.search(text)
    conflict = status == "409" or coding.get("code") == _SERIALIZATION_FAILURE
    if lost_race or conflict or status.startswith("5") or not status:
        return Fate.RETRY
    if status == "400" and _MATCHED_SEVERAL.match(text):
        return Fate.DUPLICATE
    if status == "400" and _STALE_PATCH.match(text):
        return Fate.EDITED
    if status == "412":
        many = "multiple-matches" in (code, outcome_id) or "Multiple resources" in text
        return Fate.DUPLICATE if many else Fate.EDITED
    return _BY_STATUS.get(status, Fate.REFUSED)


def _named_wait(issue: Mapping[str, Any]) -> float | None:
    """Seconds until the quota is back, from the JSON string in diagnostics (contract §8)."""
    try:
        told = json.loads(str(issue.get("diagnostics") or "null"))
        return float(told["_msBeforeNext"]) / 1000
    except (ValueError, TypeError, KeyError):
        return None
