"""What the mappings make is what Medplum stores, and sent again it changes nothing."""

from typing import Any

import pytest
import requests

from migration_assets.demo.medplum_sandbox import start_sandbox
from migration_assets.fhir.identifiers import identifier_system, percent_encoded, search_token
from migration_assets.mapping import Related, Resource, Skip
from migration_assets.mappings import discover

SECRET = "invented-secret"


def _examples() -> list[Resource]:
    """Every example's resources, in load order, so that references find their targets."""
    made: list[Resource] = []
    for mapping in discover().values():
        for row in mapping.examples:
            built = mapping.build(mapping.row.model_validate(row))
            assert not isinstance(built, Skip)
            made += built.resources if isinstance(built, Related) else (built,)
    return made


def _entry(resource: Resource) -> dict[str, Any]:
    kind = resource["resourceType"]
    token = search_token(identifier_system(kind), resource["identifier"][0]["value"])
    url = f"{kind}?identifier={percent_encoded(token)}"
    return {"request": {"method": "PUT", "url": url}, "resource": resource}


@pytest.mark.sandbox
def test_medplum_takes_every_example_and_a_second_time_writes_nothing() -> None:
    """A display, a date or a reference that Medplum rewrote would make a version on every run."""
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [_entry(each) for each in _examples()],
    }
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
        client_secret=SECRET,
        quota_per_minute=1_000_000,
    ) as sandbox:

        def send() -> list[Any]:
            answer = requests.post(
                f"{sandbox.base_url}fhir/R4",
                json=bundle,
                auth=(sandbox.client_id, SECRET),
                timeout=30,
            )
            return [each["response"]["status"] for each in answer.json()["entry"]]

        assert set(send()) == {"201"}
        versions = sandbox.stats()["versions"]
        assert set(send()) == {"200"}
        assert sandbox.stats()["versions"] == versions
