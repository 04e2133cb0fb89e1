"""Somebody else who writes to the same Medplum project, between our runs.

Each of their writes carries a tag of its own: whoever writes over it, removes it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from migration_assets.mapping import Resource
from migration_assets.medplum import MedplumClient, find_by_identifier
from migration_assets_tests.delivery.clinic import identified

Deed = Literal["edit", "create", "delete", "replace"]
_SYSTEM = "urn:somebody"
_FAULT = "urn:sandbox"  # what the sandbox's fault EDITED tags
_REQUIRED: dict[str, dict[str, Any]] = {
    "Encounter": {"status": "planned", "class": {"code": "IMP"}},
    "ClinicalImpression": {"status": "in-progress", "subject": {"display": "somebody"}},
}


def codes(resource: Resource) -> set[str]:
    """The tags of everybody else's writes that a resource still carries."""
    tags = (resource.get("meta") or {}).get("tag") or ()
    return {each["code"] for each in tags if each.get("system") in (_SYSTEM, _FAULT)}


@dataclass
class Somebody:
    """What they did: tokens by id created, ids they deleted, and edits by token that must stay."""

    client: MedplumClient
    created: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    guarded: dict[str, tuple[str, str]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def does(self, deed: Deed, name: str, *, to_stay: Any) -> None:
        """Do it, if it can be done; ``to_stay(id)`` says whether an edit of it must stay."""
        kind, system, key = name.split("|")
        found = find_by_identifier(self.client, kind, [(system, key)])[system, key]
        if deed == "create" and not found:
            self._create(name, kind, key, to_stay)
        for each in found:
            if deed == "edit":
                self._edit(name, each, to_stay)
            elif deed in ("delete", "replace"):
                self._delete(name, each)
                if deed == "replace":
                    self._create(name, kind, key, to_stay)

    def _create(self, name: str, kind: str, key: str, to_stay: Any) -> None:
        body = {**identified(kind, key), **_REQUIRED.get(kind, {}), "language": "de"}
        written, code = self._written("POST", kind, body)
        self.created[written["id"]] = name
        if to_stay(None):
            self.guarded[name] = (written["id"], code)

    def _edit(self, name: str, found: Resource, to_stay: Any) -> None:
        written, code = self._written("PUT", f"{found['resourceType']}/{found['id']}", found)
        if to_stay(written["id"]):
            self.guarded[name] = (written["id"], code)
        else:
            self.guarded.pop(name, None)

    def _delete(self, name: str, found: Resource) -> None:
        self._send({"method": "DELETE", "url": f"{found['resourceType']}/{found['id']}"}, None)
        self.deleted.add(found["id"])
        self.guarded.pop(name, None)

    def _written(self, method: str, url: str, body: Resource) -> tuple[Resource, str]:
        code = f"by-somebody-{next(self._numbers)}"
        tags = [*((body.get("meta") or {}).get("tag") or ()), {"system": _SYSTEM, "code": code}]
        sent = {**body, "meta": {"tag": tags}, "language": "de"}
        return self._send({"method": method, "url": url}, sent), code

    def _send(self, request: dict[str, str], body: Resource | None) -> Resource:
        entry = {"request": request, **({"resource": body} if body else {})}
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
        (answer,) = self.client.post_bundle(json.dumps(bundle).encode(), 1)
        assert answer["response"]["status"] in ("200", "201"), answer
        written: Resource = answer.get("resource") or {}
        return written
