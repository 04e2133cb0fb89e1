"""The tables of ``test_validation`` against Medplum's own strict validation, in the sandbox.

Should a new release of Medplum refuse more or less, these fail and the tables can be moved.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from migration_assets.demo.medplum_sandbox import start_sandbox
from migration_assets_tests.fhir.test_validation import REFUSED, RIGHT, STORED_ALTHOUGH_WRONG

pytestmark = pytest.mark.sandbox

# Said by other parts of the server than its validation (contract §10): by create, which does not
# drop what is empty first, and by the database's index on names.
ELSEWHERE = (
    "wrong-json-type at Patient.name",
    "wrong-json-type at Patient.maritalStatus",
    "text-too-long",
)


@pytest.fixture(scope="module")
def accepted() -> Iterator[Callable[[dict[str, Any]], bool]]:
    """Asks Medplum whether a resource is valid; stores nothing."""
    secret = "invented-secret"
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
        client_secret=secret,
        quota_per_minute=1_000_000,
    ) as sandbox:
        auth = (sandbox.client_id, secret)

        def ask(resource: dict[str, Any]) -> bool:
            kind = resource["resourceType"] or "Patient"
            answer = requests.post(
                f"{sandbox.base_url}fhir/R4/{kind}/$validate",
                data=json.dumps(resource),
                headers={"Content-Type": "application/fhir+json"},
                auth=auth,
                timeout=30,
            )
            return answer.ok and all(
                issue["severity"] == "information" for issue in answer.json()["issue"]
            )

        yield ask


def test_medplum_refuses_what_our_first_table_says(
    accepted: Callable[[dict[str, Any]], bool],
) -> None:
    asked = [
        each
        for each in REFUSED
        if each[1] not in ELSEWHERE and not each[1].startswith(ELSEWHERE[-1])
    ]
    assert len(asked) >= len(REFUSED) - len(ELSEWHERE) - 1
    assert [problem for resource, problem in asked if accepted(resource)] == []


def test_medplum_stores_what_our_second_table_says(
    accepted: Callable[[dict[str, Any]], bool],
) -> None:
    """If it refused one of these itself, we need not be the ones to know."""
    assert [problem for resource, problem in STORED_ALTHOUGH_WRONG if not accepted(resource)] == []


def test_medplum_stores_what_is_right(accepted: Callable[[dict[str, Any]], bool]) -> None:
    assert [resource for resource in RIGHT if not accepted(resource)] == []
