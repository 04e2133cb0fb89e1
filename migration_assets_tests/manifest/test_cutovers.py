"""The record of cutovers: what was cut off proves nothing, and a quiet stream is told from one."""

from datetime import timedelta

import pytest

from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import row, tombstone

PLAN = {"owner": "the lead", "polls": 3}


def test_of_one_part_of_a_type_one_cutover_is_under_way_and_the_next_begins_when_it_has_ended(
    manifest: Manifest, clock: Clock
) -> None:
    first = manifest.cutovers.begin("Patient", PLAN, by="a person", cohort="north")
    assert (first.plan, first.cohort, first.ended_at) == (PLAN, "north", None)
    with pytest.raises(Permanent, match="Patient, cohort north is under way"):
        manifest.cutovers.begin("Patient", PLAN, by="another", cohort="north")
    rest = manifest.cutovers.begin("Patient", PLAN, by="another")
    with pytest.raises(Permanent, match="under way"):
        manifest.cutovers.begin("Patient", PLAN, by="another")
    other = manifest.cutovers.begin("Encounter", PLAN, by="a person")
    assert manifest.cutovers.under_way() == [first, rest, other]
    manifest.cutovers.end(rest.id, "aborted", by="another")
    clock.now += timedelta(hours=1)
    manifest.cutovers.end(first.id, "aborted", by="the lead", reason="not today")
    manifest.cutovers.end(first.id, "retired", by="somebody late")
    assert manifest.cutovers.under_way("Patient") == []
    ended = manifest.cutovers.get(first.id)
    assert ended is not None
    assert (ended.outcome, ended.ended_by, ended.reason, ended.ended_at) == (
        "aborted", "the lead", "not today", clock.now,
    )  # fmt: skip
    manifest.cutovers.begin("Patient", PLAN, by="a person", cohort="north")


def test_a_look_that_was_cut_off_is_no_evidence(manifest: Manifest) -> None:
    cutover = manifest.cutovers.begin("Patient", PLAN, by="a person")
    manifest.cutovers.look(cutover.id, "freeze", by="a run that died")
    look = manifest.cutovers.look(cutover.id, "freeze", by="a person")
    manifest.cutovers.looked(look, "waits", "1 of 3 quiet polls", {"news": 0})
    (kept,) = manifest.cutovers.looks(cutover.id)
    assert (kept.step, kept.outcome, kept.said, kept.evidence, kept.by) == (
        "freeze", "waits", "1 of 3 quiet polls", {"news": 0}, "a person",
    )  # fmt: skip


def test_whatever_lands_new_changed_or_deleted_is_told_and_what_comes_again_is_not(
    manifest: Manifest,
) -> None:
    run = manifest.start_run("test", pipeline_version="0")
    seen = [manifest.cutovers.landings("patients")]
    for page in ([row("P1"), row("P2")], [row("P1", family="Roe", at=1)], [tombstone("P2", at=2)]):
        for _again in range(2):
            manifest.land("patients", page, run_id=run, reopen=False)
            seen.append(manifest.cutovers.landings("patients"))
    assert seen == sorted(seen)
    assert len(set(seen)) == 4
    assert manifest.cutovers.landings("encounters") == 0
