"""Bundles: within Medplum's limits, nothing left out, nothing in the wrong order."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.medplum.bundles import (
    MAX_BYTES,
    MAX_ENTRIES,
    Packed,
    bundle_json,
    pack,
    take_bundle,
)
from migration_assets.medplum.outcomes import Fate, entry_outcome
from migration_assets.medplum.quota import Pacer, read_quota
from migration_assets_tests.medplum.submissions import answered, patient, single


def _packed(size: int) -> Packed:
    (submission,) = single(patient("P1"))
    return Packed(submission, ("PUT",), b"x" * size, 100)


@given(
    sizes=st.lists(st.integers(1, MAX_BYTES - 100), max_size=30)
    | st.lists(st.integers(1, 2_000), max_size=600),
    points=st.none() | st.integers(0, 20_000),
)
def test_every_submission_is_sent_once_in_order_and_no_bundle_is_too_large(
    sizes: list[int], points: int | None
) -> None:
    queue = [_packed(size) for size in sizes]
    sent: list[Packed] = []
    while queue:
        taken = take_bundle(queue, points=points)
        assert taken
        assert len(taken) <= MAX_ENTRIES
        assert len(bundle_json(each.json for each in taken)) <= MAX_BYTES
        if points is not None and len(taken) > 1:
            assert sum(each.points for each in taken) <= points
        sent += taken
        queue = queue[len(taken) :]
    assert [len(each.json) for each in sent] == sizes


def test_a_bundle_is_valid_json_whatever_it_is_made_of() -> None:
    packed = [pack(each, exclusive=False) for each in single(patient("P,1"), patient("é"))]
    bundle = orjson.loads(bundle_json(each.json for each in packed))
    urls = [each["request"]["url"] for each in bundle["entry"]]
    assert urls[0].endswith("%7CP%5C%2C1")
    assert bundle["type"] == "batch"


def test_a_known_target_is_written_only_over_the_version_on_account() -> None:
    (submission,) = single(patient("P1", fhir_id="abc", version_id="v7"))
    entry = orjson.loads(pack(submission, exclusive=True).json)
    assert entry["request"] == {"method": "PUT", "url": "Patient/abc", "ifMatch": 'W/"v7"'}
    assert entry["resource"]["id"] == "abc"


def test_every_answer_of_the_contract_has_its_fate() -> None:
    fates = {
        Fate.RETRY: [
            answered("409", "x", "conflict"),
            answered("400", "Resource ID did not match resolved ID"),
            answered("400", "Assigned ID is already in use"),
            answered("500", "x"),
            answered("504", "x", "timeout"),
            {},
        ],
        Fate.WAIT: [answered("429", "Too Many Requests", "throttled")],
        Fate.EDITED: [
            answered("412", "Precondition Failed", "processing"),
            answered("400", "Test failed: v2 != v1"),
        ],
        Fate.DUPLICATE: [
            answered("412", "Multiple resources found", "multiple-matches"),
            answered("400", "Conditional PUT matched multiple resources"),
        ],
        Fate.GONE: [answered("404", "Not found"), answered("410", "Gone")],
        Fate.REFUSED: [
            answered("400", "Conditional reference 'Patient?x' matched multiple resources"),
            answered("400", "Invalid"),
            answered("422", "x"),
            answered("403", "x"),
        ],
        Fate.DONE: [{"response": {"status": "201", "location": "Patient/1"}}],
    }
    for fate, entries in fates.items():
        assert {entry_outcome(each).fate for each in entries} == {fate}


def test_the_wait_that_medplum_names_in_its_diagnostics_is_heard() -> None:
    entry = answered("429", "x", "throttled", diagnostics='{"_msBeforeNext":4200}')
    assert entry_outcome(entry).wait == 4.2
    assert entry_outcome(answered("429", "x", diagnostics="soon")).wait is None


def test_an_outcome_keeps_no_text_that_might_quote_a_patient() -> None:
    entry = answered("400", "Conditional reference 'Patient?identifier=x|CANARY' did not match")
    assert "CANARY" not in repr(entry_outcome(entry))


def test_the_pacer_waits_for_the_window_instead_of_earning_a_429() -> None:
    now, slept = [100.0], list[float]()
    pacer = Pacer(clock=lambda: now[0], sleep=slept.append)
    pacer.heard('"requests";r=59985;t=60, "fhirInteractions";r=90;t=42')
    pacer.wait_for(80)
    assert slept == []
    pacer.wait_for(100)
    assert slept == [42.0]
    assert pacer.points is None
    assert read_quota("nonsense") is None
