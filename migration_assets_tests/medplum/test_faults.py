"""Through everything Medplum and the line get wrong: each resource is there, once, as sent."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import pytest
from pydantic import SecretStr

from migration_assets.demo.faults import Fault, Wrong, mixture
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Transient
from migration_assets.fhir.references import with_references
from migration_assets.medplum import (
    Delivered,
    Deliverer,
    MedplumClient,
    Member,
    Submission,
    Verdict,
    find_by_identifier,
)
from migration_assets.medplum.contents import stripped
from migration_assets_tests.medplum.conftest import QUOTA, SECRET
from migration_assets_tests.medplum.submissions import PATIENTS, deliver, group, patient, single

pytestmark = pytest.mark.sandbox

SINGLES, GROUPS = 150, 30
SMALL_QUOTA = 3_000  # many small bundles: as many chances for a request to fail
CLIENT_GIVES_UP = (5.0, 0.5)
SURVIVED = [each for each in Wrong if each is not Wrong.EDITED]  # that one is a person's to decide


@pytest.fixture(autouse=True)
def _well_behaved_again(sandbox: Sandbox) -> Iterator[None]:
    """A failing test leaves no faults to the next one."""
    yield
    sandbox.behave()


def through_faults(
    sandbox: Sandbox, submissions: Sequence[Submission], *, exclusive: bool
) -> list[Delivered]:
    """Deliver with a client whose waits let the server finish and refill the quota."""

    def sleep(_seconds: float) -> None:
        sandbox.settle()
        sandbox.refill()

    client = MedplumClient(
        sandbox.base_url,
        sandbox.client_id,
        SecretStr(SECRET),
        sleep=sleep,
        timeout=CLIENT_GIVES_UP,
    )
    deliverer = Deliverer(client, exclusive=exclusive, deadline_seconds=100.0, sleep=sleep)
    return [each for finished in deliverer.deliver(submissions) for each in finished]


def clinic() -> list[Submission]:
    """Singles and groups, interleaved."""
    singles = [(patient(f"P{number}"),) for number in range(SINGLES)]
    groups = [group(f"E{number}", "Patient/x").members for number in range(GROUPS)]
    size = SINGLES // GROUPS
    parts = [singles[at : at + size] for at in range(0, SINGLES, size)]
    mixed = chain.from_iterable((*part, whole) for part, whole in zip(parts, groups, strict=True))
    return [Submission(unit, members) for unit, members in enumerate(mixed, start=1)]


def changed(delivered: Sequence[Delivered]) -> list[Submission]:
    """What was written, changed since, with the ids and versions that the manifest would hold."""
    submissions = []
    for each in delivered:
        held = {a.member.reference: (str(a.fhir_id), a.version_id) for a in each.answers}
        members = tuple(
            Member(m.resource_type, m.system, m.value, {**(m.body or {}), "language": "en"})
            for m in each.submission.members
        )
        submissions.append(Submission(each.submission.unit, members).locate(held))
    return submissions


def verdicts(delivered: Sequence[Delivered]) -> Counter[tuple[Verdict, str | None]]:
    """How many ended how."""
    return Counter((each.verdict, each.reason) for each in delivered)


def assert_there_once_as_sent(sandbox: Sandbox, submissions: Sequence[Submission]) -> None:
    """The law: what a search finds is what was submitted, one resource per identifier."""
    sandbox.behave()
    sandbox.settle()
    sandbox.change(quota_per_minute=QUOTA)
    sandbox.refill()
    client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET))
    members = {each.reference: each for one in submissions for each in one.members}
    found = {
        (kind, *identifier): resources
        for kind in {each.resource_type for each in members.values()}
        for identifier, resources in find_by_identifier(
            client,
            kind,
            [(m.system, m.value) for m in members.values() if m.resource_type == kind],
        ).items()
    }
    held = {
        reference: found[reference.resource_type, reference.system, reference.value]
        for reference in members
    }
    assert {len(resources) for resources in held.values()} == {1}
    literals = {each: f"{each.resource_type}/{held[each][0]['id']}" for each in members}
    for reference, member in members.items():
        assert member.body is not None
        assert stripped(held[reference][0]) == with_references(member.body, literals.get)
    types = Counter(each.resource_type for each in members.values())
    assert {kind: client.count(kind) for kind in types} == types


@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_through_every_fault_each_resource_is_there_once_as_sent(
    sandbox: Sandbox, seed: int, exclusive: bool
) -> None:
    """Both when everything is new to Medplum and when every resource changes."""
    sandbox.change(quota_per_minute=SMALL_QUOTA)
    once = [Fault(each, at=(1,)) for each in SURVIVED]
    sandbox.misbehave(*once, *mixture(of_writes=0.05, of_requests=0.03), seed=seed)
    created = through_faults(sandbox, clinic(), exclusive=exclusive)
    assert verdicts(created) == {(Verdict.WRITTEN, None): SINGLES + GROUPS}
    again = through_faults(sandbox, changed(created), exclusive=exclusive)
    assert verdicts(again) == {(Verdict.WRITTEN, None): SINGLES + GROUPS}
    assert set(sandbox.stats()["faults"]) == set(SURVIVED)
    assert_there_once_as_sent(sandbox, [each.submission for each in again])


def test_asking_for_the_transaction_feature_survives_a_lost_connection(
    client: MedplumClient, sandbox: Sandbox
) -> None:
    """The question was sent without a net: one reset there ended a whole run."""
    sandbox.misbehave(
        Fault(Wrong.RESET, at=(1,), on="bundles"), Fault(Wrong.STATUS_503, at=(1,), on="bundles")
    )
    (written,) = deliver(client, [group("E1", "Patient/x")])
    assert written.verdict is Verdict.WRITTEN
    assert sandbox.stats()["faults"] == {"reset": 1, "status-503": 1}


def test_looking_after_a_412_survives_a_failing_search(
    client: MedplumClient, sandbox: Sandbox
) -> None:
    """Whose write was it? A search that fails once must not end the run."""
    (first,) = deliver(client, single(patient("P1")))[0].answers
    known = patient("P1", "Smith", fhir_id=first.fhir_id, version_id=first.version_id)
    sandbox.misbehave(Fault(Wrong.OVERTAKEN, at=(1,)), Fault(Wrong.RESET, at=(1,), on="searches"))
    (written,) = deliver(client, single(known))
    assert (written.verdict, written.answers[0].event) == (Verdict.WRITTEN, "confirmed")
    assert sandbox.stats()["faults"] == {"overtaken": 1, "reset": 1}


@pytest.mark.parametrize("wrong", [Wrong.RESET, Wrong.STATUS_502, Wrong.TRUNCATE])
def test_one_failed_search_does_not_end_a_run(
    client: MedplumClient, sandbox: Sandbox, wrong: Wrong
) -> None:
    """References are looked up and the account is proved by searches outside any delivery."""
    deliver(client, single(patient("P1")))
    sandbox.misbehave(Fault(wrong, at=(1, 3), on="searches"))
    for _ in range(2):
        found = find_by_identifier(client, "Patient", [(PATIENTS, "P1")])
        assert len(found[PATIENTS, "P1"]) == 1
    assert sandbox.stats()["faults"] == {wrong: 2}


def test_a_search_that_always_fails_is_given_up(client: MedplumClient, sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.STATUS_503))
    with pytest.raises(Transient, match="503"):
        client.search("Patient", {})
