"""Groups in a project that cannot write them at once: never doubled, never half for good."""

from dataclasses import replace

import pytest

from migration_assets.demo.faults import mixture
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.fhir.references import reference
from migration_assets.medplum import (
    Ambiguous,
    Deliverer,
    MedplumClient,
    Member,
    Submission,
    Verdict,
)
from migration_assets.medplum.parts import in_order
from migration_assets_tests.medplum.submissions import (
    Failing,
    answered,
    deliver,
    events,
    group,
    of_type,
    patient,
)
from migration_assets_tests.medplum.test_faults import (
    assert_there_once_as_sent,
    changed,
    clinic,
    through_faults,
)

pytestmark = pytest.mark.sandbox


@pytest.fixture(autouse=True)
def _without_transactions(sandbox: Sandbox) -> None:
    """The feature is off in a new project (contract §0)."""
    sandbox.change(transactions=False)


def encounters(client: MedplumClient) -> tuple[int, int]:
    """How many encounters and clinical impressions there are."""
    return client.count("Encounter"), client.count("ClinicalImpression")


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_group_goes_out_member_by_member_and_refers_to_itself(
    client: MedplumClient, exclusive: bool
) -> None:
    """Sent as one, the server would run it as a batch and report success (contract §0)."""
    (written,) = deliver(client, [group("E1", "Patient/x")], exclusive=exclusive)
    assert written.verdict is Verdict.WRITTEN
    assert [each.event for each in written.answers] == ["created", "created"]
    (note,) = client.search("ClinicalImpression", {})
    assert note["encounter"]["reference"] == f"Encounter/{written.answers[0].fhir_id}"
    assert events(deliver(client, [group("E1", "Patient/x")])) == ["unchanged", "unchanged"]
    assert encounters(client) == (1, 1)


def test_whoever_asks_is_told_that_groups_were_not_atomic(client: MedplumClient) -> None:
    deliverer = Deliverer(client, exclusive=True, deadline_seconds=60)
    submissions = [group("E1", "Patient/x"), Submission(2, (patient("P1"),))]
    assert sum(len(each) for each in deliverer.deliver(submissions)) == 2
    assert deliverer.groups_sent_apart == 1


def test_many_groups_take_one_bundle_per_step_and_not_one_per_member(
    client: MedplumClient,
) -> None:
    groups = [replace(group(f"E{n}", "Patient/x"), unit=n) for n in range(30)]
    deliverer = Deliverer(client, exclusive=True, deadline_seconds=60)
    ended = [each for finished in deliverer.deliver(groups) for each in finished]
    assert {each.verdict for each in ended} == {Verdict.WRITTEN}
    assert deliverer.bundles_sent == 2
    assert encounters(client) == (30, 30)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_run_that_dies_between_two_members_is_completed_by_the_next(
    client: MedplumClient, at: int, exclusive: bool
) -> None:
    """The first member is found and adopted: a second one would be a doubled encounter."""

    def die(_entries: object) -> list[dict[str, object]]:
        raise KeyboardInterrupt

    failing = Failing(client, *[lambda entries: entries] * (at - 1), die)
    with pytest.raises(KeyboardInterrupt):
        deliver(failing, [group("E1", "Patient/x")], exclusive=exclusive)
    assert encounters(client) == (1, at - 1)
    (written,) = deliver(client, [group("E1", "Patient/x")], exclusive=exclusive)
    assert written.verdict is Verdict.WRITTEN
    assert len({each.fhir_id for each in written.answers}) == 2
    assert encounters(client) == (1, 1)


@pytest.mark.parametrize("at", [1, 2])
def test_a_lost_answer_between_two_members_doubles_neither(client: MedplumClient, at: int) -> None:
    faults = [lambda entries: entries] * (at - 1)
    failing = Failing(client, *faults, Ambiguous("reset"))
    (written,) = deliver(failing, [group("E1", "Patient/x")], exclusive=True)
    assert written.verdict is Verdict.WRITTEN
    assert len(written.answers) == 2
    assert encounters(client) == (1, 1)


def test_the_deadline_between_two_members_leaves_the_whole_unit_open(
    client: MedplumClient,
) -> None:
    now = [0.0]

    def late(entries: list[dict[str, object]]) -> list[dict[str, object]]:
        now[0] = 100.0
        return entries

    deliverer = Deliverer(
        Failing(client, late), exclusive=True, deadline_seconds=60, clock=lambda: now[0]
    )
    whole = group("E1", "Patient/x")
    (left,) = [each for finished in deliverer.deliver([whole]) for each in finished]
    assert left.verdict is Verdict.OPEN
    assert len(left.submission.members) == 2
    assert encounters(client) == (1, 0)


def test_a_refused_later_member_leaves_the_first_on_account(client: MedplumClient) -> None:
    """A later fix completes it and a deletion takes it away: its id must not be forgotten."""
    encounter, note = group("E1", "Patient/x").members
    broken = replace(note, body={**(note.body or {}), "summary": 7})
    (refused,) = deliver(client, [Submission(1, (encounter, broken))], exclusive=True)
    assert (refused.verdict, refused.field) == (Verdict.REFUSED, "ClinicalImpression.summary")
    created, failed = refused.answers
    assert (created.event, failed.event) == ("created", "failed")
    (held,) = client.search("Encounter", {})
    assert refused.submission.members[0].fhir_id == created.fhir_id == held["id"]
    assert refused.submission.members[1].fhir_id is None
    (fixed,) = deliver(client, [Submission(1, (encounter, note))])
    assert fixed.verdict is Verdict.WRITTEN
    assert encounters(client) == (1, 1)


def test_what_a_group_no_longer_has_is_deleted_after_its_referrers_are_changed(
    client: MedplumClient,
) -> None:
    (written,) = deliver(client, [group("E1", "Patient/x")])
    encounter, note = (
        replace(a.member, fhir_id=a.fhir_id, version_id=a.version_id) for a in written.answers
    )
    changed = replace(encounter, body={**(encounter.body or {}), "status": "cancelled"})
    gone = replace(note, body=None)
    assert events(deliver(client, [Submission(1, (gone, changed))])) == ["changed", "deleted"]
    assert encounters(client) == (1, 0)


def test_members_in_a_circle_still_need_the_feature(client: MedplumClient) -> None:
    """No order of single writes keeps every reference; half a circle is not sent."""
    encounter, note = group("E1", "Patient/x").members
    back = {**(encounter.body or {}), "partOf": reference("ClinicalImpression", "E1")}
    circle = Submission(1, (replace(encounter, body=back), note))
    (held,) = deliver(client, [circle])
    assert (held.verdict, held.reason) == (Verdict.HELD, "needs-transaction-bundles")
    assert encounters(client) == (0, 0)


def test_a_member_too_large_for_medplum_holds_the_group_before_its_first_is_written(
    client: MedplumClient,
) -> None:
    encounter, note = group("E1", "Patient/x").members
    large = replace(note, body={**(note.body or {}), "summary": "x" * 1_000_000})
    (held,) = deliver(client, [Submission(1, (encounter, large))])
    assert (held.verdict, held.reason) == (Verdict.HELD, "resource-too-large")
    assert encounters(client) == (0, 0)


def test_a_lost_race_for_a_member_is_tried_again_alone(client: MedplumClient) -> None:
    lost = answered("400", "Resource ID did not match resolved ID")
    failing = Failing(client, lambda entries: entries, lambda _entries: [lost])
    (written,) = deliver(failing, [group("E1", "Patient/x")], exclusive=True)
    assert written.verdict is Verdict.WRITTEN
    assert encounters(client) == (1, 1)


def test_a_permanent_refusal_between_two_members_is_not_swallowed(client: MedplumClient) -> None:
    failing = Failing(client, lambda entries: entries, Permanent("no longer allowed"))
    with pytest.raises(Permanent):
        deliver(failing, [group("E1", "Patient/x")])


def test_a_group_beyond_medplums_transactions_goes_apart_where_the_feature_is_on(
    client: MedplumClient, sandbox: Sandbox
) -> None:
    """Contract §6: more than 8 entries with a conditional one among them are refused for good."""
    sandbox.change(transactions=True)
    first = of_type("Organization", "O0", name="whole")
    parts = [
        of_type("Organization", f"O{n}", name="part", partOf=reference("Organization", "O0"))
        for n in range(1, 10)
    ]
    deliverer = Deliverer(client, exclusive=False, deadline_seconds=60)
    (ended,) = (
        each for done in deliverer.deliver([Submission(1, (*parts, first))]) for each in done
    )
    assert ended.verdict is Verdict.WRITTEN
    assert deliverer.groups_sent_apart == 1
    assert client.count("Organization") == 10


def test_what_is_referred_to_comes_first_whatever_order_a_mapping_yields() -> None:
    encounter, note = group("E1", "Patient/x").members
    gone = Member("Observation", "s", "1", None, "id")
    assert in_order(Submission(1, (gone, note, encounter))) == (encounter, note, gone)


@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
@pytest.mark.parametrize("seed", [1, 2])
def test_through_every_fault_each_group_is_whole_once_in_the_end(
    sandbox: Sandbox, seed: int, exclusive: bool
) -> None:
    """Both when everything is new and when every member changes."""
    sandbox.change(transactions=False, quota_per_minute=3_000)
    sandbox.misbehave(*mixture(of_writes=0.06, of_requests=0.04), seed=seed)
    try:
        created = through_faults(sandbox, clinic(), exclusive=exclusive)
        again = through_faults(sandbox, changed(created), exclusive=exclusive)
    finally:
        sandbox.behave()
    assert {each.verdict for each in [*created, *again]} == {Verdict.WRITTEN}
    assert len(sandbox.stats()["faults"]) > 5
    assert_there_once_as_sent(sandbox, [each.submission for each in again])
