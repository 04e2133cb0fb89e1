"""One row of the demo clinic, written through its description over a real socket."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from migration_assets.demo import clinic_server
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.errors import Permanent
from migration_assets.legacy import Puller, Source, load_description
from migration_assets.legacy.description.writing import Writing
from migration_assets.legacy.writing import Lies, RowWriter, Told
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY, found, get, rows

_DESCRIPTION = Path(clinic_server.__file__).with_name("clinic.yaml")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A clinic; each test has a patient of its own."""
    path = found(tmp_path_factory.mktemp("clinic"), patients=12)
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as running:
        yield running


def _described(**changes: Any) -> Source:
    source = load_description(_DESCRIPTION)
    streams = tuple(
        each.model_copy(update={"write": each.write and each.write.model_copy(update=changes)})
        for each in source.streams
    )
    http = source.http.model_copy(update={"backoff": 0.0, "attempts": 1})
    return source.model_copy(update={"streams": streams, "http": http})


def _writer(clinic: Clinic, **changes: Any) -> RowWriter:
    environ = {"MIGRATION_LEGACY_URL": clinic.base_url, "MIGRATION_LEGACY_API_KEY": API_KEY}
    writer = Puller(_described(**changes), environ=environ).writer("patients")
    assert writer is not None
    return writer


def _new(clinic: Clinic, key: str) -> None:
    clinic.put("patients", key, {"patient_id": key, "last_name": "Roe", "phone": "1"})


def test_only_what_differs_is_sent_and_the_row_is_as_the_list_shows_it(clinic: Clinic) -> None:
    _new(clinic, "W1")
    writer = _writer(clinic)
    lies = writer.read("W1")
    assert lies.row is not None
    listed = next(r for r in rows(clinic, "patients", limit=1000) if r.get("patient_id") == "W1")
    assert lies.row.row == listed
    clinic.put("patients", "W1", lies.row.row)  # the same once more: another ETag
    assert writer.write("W1", {}, {"phone": "2"}, lies).told is Told.STALE
    again = writer.read("W1")
    assert writer.write("W1", {}, {"phone": "2"}, again).told is Told.TAKEN
    assert get(clinic, "api/patients/W1").json()["phone"] == "2"


@pytest.mark.parametrize("lock", ["etag", {"field": "updated_at"}])
def test_whoever_was_faster_is_not_written_over(clinic: Clinic, lock: Any) -> None:
    _new(clinic, "W2")
    how = Writing.model_validate({"path": "api/{stream}/{id}", "if_match": lock})
    writer = _writer(clinic, if_match=how.if_match, body="row", leave_out=("updated_at",))
    lies = writer.read("W2")
    assert lies.row is not None
    clinic.put("patients", "W2", {**lies.row.row, "phone": "theirs"})
    assert writer.write("W2", {**lies.row.row, "phone": "ours"}, {}, lies).told is Told.STALE
    assert writer.delete("W2", lies).told is Told.STALE
    assert get(clinic, "api/patients/W2").json()["phone"] == "theirs"


def test_nothing_is_written_without_the_lock_that_was_promised(clinic: Clinic) -> None:
    _new(clinic, "W3")
    writer = _writer(clinic, if_match=Writing.model_validate(
        {"path": "x/{id}", "if_match": {"field": "no_such_field"}}
    ).if_match)  # fmt: skip
    with pytest.raises(Permanent, match="if_match"):
        writer.write("W3", {}, {"phone": "2"}, writer.read("W3"))
    assert get(clinic, "api/patients/W3").json()["phone"] == "1"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("drop", Told.UNSURE),
        ("lose", Told.UNSURE),
        ("fail", Told.UNSURE),
        ("fail-after", Told.UNSURE),
        ("unavailable", Told.UNSURE),
        ("throttle", Told.UNSURE),
        ("refuse", Told.REFUSED),
        ("lie", Told.TAKEN),
    ],
)
def test_a_write_is_sent_once_whatever_comes_of_it(clinic: Clinic, fault: str, told: Told) -> None:
    _new(clinic, "W4")
    writer = _writer(clinic)
    lies = writer.read("W4")
    clinic.fail_writes(fault, "refuse")  # a second one would meet another answer
    assert writer.write("W4", {}, {"phone": "2"}, lies).told is told
    assert writer.write("W4", {}, {"phone": "2"}, lies).told is Told.REFUSED
    clinic.fail_writes()


def test_a_new_row_is_one_row_however_often_it_is_sent(clinic: Clinic) -> None:
    writer = _writer(clinic)
    before = clinic.counts()["patients"]
    clinic.fail_writes("drop")
    assert writer.create({"last_name": "New"}, once="name-1").told is Told.UNSURE
    said = [writer.create({"last_name": "New"}, once="name-1") for _ in range(2)]
    assert said[0].key == said[1].key
    assert said[0].key is not None
    assert clinic.counts()["patients"] == before + 1
    lies = writer.read(said[0].key)
    assert writer.delete(said[0].key, lies).told is Told.TAKEN
    assert writer.read(said[0].key) == Lies(None)


def test_a_wrong_key_is_no_answer_about_the_row(clinic: Clinic) -> None:
    _new(clinic, "W5")
    lies = _writer(clinic).read("W5")
    environ = {"MIGRATION_LEGACY_URL": clinic.base_url, "MIGRATION_LEGACY_API_KEY": "wrong"}
    writer = Puller(_described(), environ=environ).writer("patients")
    assert writer is not None
    with pytest.raises(Permanent, match="MIGRATION_LEGACY_API_KEY") as refused:
        writer.write("W5", {}, {"phone": "2"}, lies)
    assert "W5" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"path": "api/rows", "if_match": "etag"}, "exactly once"),
        ({"path": "api/{id}", "if_match": "none"}, "accepted_loss"),
        ({"path": "http://elsewhere/{id}", "if_match": "etag"}, "path"),
        ({"path": "api/{id}", "if_match": "etag", "create": "api/{id}"}, "no id yet"),
        ({"path": "api/{id}"}, "if_match"),
    ],
)
def test_a_description_that_would_lose_an_edit_is_refused(said: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Writing.model_validate(said)
