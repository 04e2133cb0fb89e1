"""Somebody who works in Medplum while the clinic is migrated: a front end, as far as we can tell.

Belongs here: edits and new records as a front end makes them, with If-Match, by its own client.
Does not belong here: anything of the product; it knows Medplum's API alone.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson

from migration_assets.errors import Permanent, Transient
from migration_assets.mapping import Resource
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.bundles import bundle_json

_TRIES = 20


class FrontEnd:
    """Edits what it finds; a version that moved meanwhile it reads again, as people do."""

    def __init__(self, client: MedplumClient) -> None:
        self._client = client

    def found(self, resource_type: str, system: str, key: str) -> Resource:
        """The one resource that carries an identifier.

        Raises:
            Permanent: none does, or several.
        """
        matches = self._client.search(resource_type, {"identifier": f"{system}|{key}"})
        if len(matches) != 1:
            raise Permanent(f"{len(matches)} {resource_type} resources carry that identifier.")
        return matches[0]

    def edit(
        self, resource_type: str, system: str, key: str, change: Callable[[Resource], Resource]
    ) -> str:
        """Change a resource; the version that came of it.

        Raises:
            Transient: others write it all the time, or Medplum takes nothing now.
        """
        for _try in range(_TRIES):
            now = self.found(resource_type, system, key)
            version = now["meta"]["versionId"]
            answer = self._send(
                {
                    "request": {
                        "method": "PUT",
                        "url": f"{resource_type}/{now['id']}",
                        "ifMatch": f'W/"{version}"',
                    },
                    "resource": change(now),
                }
            )
            if answer["response"]["status"].startswith("2"):
                found = re.search(r"_history/([^/]+)$", answer["response"]["location"])
                return found[1] if found else ""
        raise Transient("Medplum did not take an edit.")

    def register(self, resource: Resource) -> str:
        """Create a resource; its id.

        Raises:
            Transient: Medplum does not take it now.
        """
        request = {"method": "POST", "url": resource["resourceType"]}
        answer = self._send({"request": request, "resource": resource})
        found = re.search(rf"{resource['resourceType']}/([^/]+)", answer["response"]["location"])
        if not found:
            raise Transient("Medplum did not take a new record.")
        return found[1]

    def _send(self, entry: dict[str, Any]) -> dict[str, Any]:
        (answer,) = self._client.post_bundle(bundle_json([orjson.dumps(entry)]), 1)
        return answer


def with_phone(phone: str) -> Callable[[Resource], Resource]:
    """A change of a patient's phone, all else as it is."""

    def changed(resource: Resource) -> Resource:
        others = [each for each in resource.get("telecom", ()) if each.get("system") != "phone"]
        mine = next(
            (dict(each) for each in resource.get("telecom", ()) if each.get("system") == "phone"),
            {"system": "phone"},
        )
        return {**resource, "telecom": [{**mine, "value": phone}, *others]}

    return changed
