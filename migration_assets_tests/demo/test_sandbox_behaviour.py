"""What delivering to the sandbox costs and what searching it finds: what deliveries rely on."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from migration_assets.demo import medplum_sandbox
from migration_assets.demo.medplum_sandbox import Sandbox, SandboxOptions
from migration_assets_tests.demo.replay import Answer, ask, bundle, patient, put, send

pytestmark = pytest.mark.sandbox

QUOTA = 1_000_000_000
OPTIONS = SandboxOptions(
    client_id="4d1c5a1e-0000-4000-8000-00000000c11e",
    client_secret="a-secret-of-the-tests",
    quota_per_minute=QUOTA,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with medplum_sandbox.launch(OPTIONS, None, medplum_sandbox.install_packages()) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    shared.change(quota_per_minute=QUOTA, transactions=True)
    return shared


def statuses(answer: Answer) -> list[str]:
    return [entry["response"]["status"] for entry in json.loads(answer.text)["entry"]]


def points_left(answer: Answer) -> int:
    match = re.search(r'"fhirInteractions";r=(\d+);t=\d+$', answer.headers["ratelimit"])
    assert match
    return int(match[1])


@pytest.mark.parametrize(
    ("before", "entry", "cost"),
    [
        ((), put("1"), 140),
        ((put("1"),), put("1"), 120),
        ((put("1"),), put("1", active=True), 120),
        ((), {"request": {"method": "POST", "url": "Patient"}, "resource": patient("1")}, 100),
        ((), {"request": {"method": "GET", "url": "Patient?_count=1"}}, 20),
        (
            (),
            {"request": {"method": "GET", "url": "Patient/11111111-1111-4111-8111-111111111111"}},
            1,
        ),
    ],
)
def test_a_batch_entry_costs_what_it_costs_on_the_real_server(
    sandbox: Sandbox, before: tuple[dict[str, Any], ...], entry: dict[str, Any], cost: int
) -> None:
    """The pacing of deliveries is tuned on these numbers (contract §8)."""
    if before:
        bundle(sandbox, "batch", *before)
    sandbox.refill()
    left = points_left(bundle(sandbox, "batch", entry))
    assert QUOTA - left == cost


def test_a_conditional_reference_costs_twenty_points_more(sandbox: Sandbox) -> None:
    bundle(sandbox, "batch", put("1"))
    subject = {"reference": "Patient?identifier=urn:t|1"}
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    sandbox.refill()
    left = points_left(ask(sandbox, "POST", "Observation", observation | {"subject": subject}))
    assert QUOTA - left == 120


def test_a_quota_running_out_in_a_transaction_rolls_it_back(sandbox: Sandbox) -> None:
    sandbox.change(quota_per_minute=300)
    sandbox.refill()
    answer = bundle(sandbox, "transaction", put("1"), put("2"), put("3"))
    assert answer.status == 429
    diagnostics = json.loads(json.loads(answer.text)["issue"][0]["diagnostics"])
    assert diagnostics["limit"] == 300
    assert 0 < diagnostics["_msBeforeNext"] <= 60_000
    assert sandbox.stats()["resources"] == {}


def test_the_preflight_tells_whether_transactions_are_on(sandbox: Sandbox) -> None:
    """Contract §0: the one harmless question whose answer depends on the feature."""
    absent = "Patient/11111111-1111-4111-8111-111111111111"
    entries = [{"request": {"method": "GET", "url": url}} for url in ("Patient?_count=1", absent)]
    assert bundle(sandbox, "transaction", *entries).status == 404
    sandbox.change(transactions=False)
    answer = bundle(sandbox, "transaction", *entries)
    assert answer.status == 200
    assert statuses(answer) == ["200", "404"]


def test_a_thousand_identifiers_are_found_in_one_form(sandbox: Sandbox) -> None:
    """How the deliverer looks before it writes: 20 points, whatever the number."""
    for begin in range(0, 1000, 250):
        bundle(sandbox, "batch", *(put(f"{number}") for number in range(begin, begin + 250)))
    sandbox.refill()
    tokens = ",".join(f"urn:t|{number}" for number in range(1000))
    form = {"identifier": tokens, "_count": "1000", "_fields": "identifier"}
    request = {"method": "POST", "path": "fhir/R4/Patient/_search", "form": form}
    answer = send(sandbox, request)
    assert len(json.loads(answer.text)["entry"]) == 1000
    assert QUOTA - points_left(answer) == 20


def test_a_walk_by_cursor_meets_every_resource_once(sandbox: Sandbox) -> None:
    """Hundreds share a millisecond here; a cursor that skips would falsify a comparison."""
    bundle(sandbox, "batch", *(put(f"{number}") for number in range(300)))
    seen: list[str] = []
    path: str | None = "fhir/R4/Patient?_sort=_lastUpdated&_count=20"
    while path:
        page = json.loads(send(sandbox, {"method": "GET", "path": path}).text)
        seen += [entry["resource"]["id"] for entry in page.get("entry", [])]
        links = {link["relation"]: link["url"] for link in page["link"]}
        path = links.get("next")
    assert len(seen) == len(set(seen)) == 300
