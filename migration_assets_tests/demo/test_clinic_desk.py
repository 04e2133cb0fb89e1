"""The demo clinic's API for those who write, over a real socket."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY, found, get, rows


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A clinic; each test has a patient of its own."""
    path = found(tmp_path_factory.mktemp("clinic"), patients=12)
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as running:
        yield running


def _send(clinic: Clinic, method: str, path: str, body: Any = None, **headers: str) -> Any:
    sent = {
        "X-API-Key": API_KEY,
        **{name.replace("_", "-"): each for name, each in headers.items()},
    }
    return requests.request(
        method, f"{clinic.base_url}api/{path}", json=body, headers=sent, timeout=30
    )


def _new(clinic: Clinic, **fields: Any) -> str:
    answer = _send(clinic, "POST", "patients", {"last_name": "Roe", **fields})
    assert answer.status_code == 201
    return str(answer.json()["patient_id"])


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_nobody_writes_without_the_key(clinic: Clinic, method: str) -> None:
    path = "patients" if method == "POST" else "patients/P001"
    for key in ("", "wrong", ADMIN_KEY):
        assert _send(clinic, method, path, {}, X_API_Key=key).status_code == 401


def test_fields_are_written_and_the_others_stay(clinic: Clinic) -> None:
    key = _new(clinic, first_name="Ann", phone="1")
    before = get(clinic, f"api/patients/{key}")
    answer = _send(clinic, "PUT", f"patients/{key}", {"phone": "2", "email": None})
    assert answer.status_code == 200
    after = get(clinic, f"api/patients/{key}")
    assert answer.json() == after.json()
    assert answer.headers["ETag"] == after.headers["ETag"] != before.headers["ETag"]
    assert after.json()["updated_at"] > before.json()["updated_at"]
    assert {**after.json(), "updated_at": 0} == {
        "patient_id": key,
        "last_name": "Roe",
        "first_name": "Ann",
        "phone": "2",
        "email": None,
        "updated_at": 0,
    }


def test_who_writes_over_a_row_they_have_not_seen_is_told(clinic: Clinic) -> None:
    key = _new(clinic)
    seen = get(clinic, f"api/patients/{key}")
    for tag in (seen.headers["ETag"], seen.json()["updated_at"]):
        clinic.put("patients", key, {**seen.json(), "last_name": "Poe"})
        for method in ("PUT", "DELETE"):
            refused = _send(clinic, method, f"patients/{key}", {"last_name": "Moe"}, If_Match=tag)
            assert refused.status_code == 412
        assert get(clinic, f"api/patients/{key}").json()["last_name"] == "Poe"
    now = get(clinic, f"api/patients/{key}").headers["ETag"]
    assert _send(clinic, "DELETE", f"patients/{key}", If_Match=now).status_code == 200
    assert get(clinic, f"api/patients/{key}").status_code == 410
    assert _send(clinic, "PUT", f"patients/{key}", {"phone": "3"}).status_code == 410


def test_what_makes_no_sense_is_refused_and_changes_nothing(clinic: Clinic) -> None:
    key = _new(clinic)
    before = get(clinic, f"api/patients/{key}").json()
    bodies: list[Any] = [[], {"patient_id": "another"}, {"last_name": "x" * 5_000}]
    answers = [_send(clinic, "PUT", f"patients/{key}", body).status_code for body in bodies]
    assert answers == [400, 422, 422]
    assert get(clinic, f"api/patients/{key}").json() == before
    assert _send(clinic, "POST", "patients", {"patient_id": key}).status_code == 409
    assert _send(clinic, "PUT", "patients/P00404", {}).status_code == 404
    assert _send(clinic, "POST", "unheard-of", {}).status_code == 404


def test_a_new_row_sent_twice_under_one_name_is_one_row(clinic: Clinic) -> None:
    sent = [
        _send(clinic, "POST", "patients", {"last_name": "Twice"}, Idempotency_Key="once").json()
        for _ in range(2)
    ]
    assert sent[0] == sent[1]
    named = [row for row in rows(clinic, "patients", limit=1000) if row.get("last_name") == "Twice"]
    assert len(named) == 1


@pytest.mark.parametrize(
    ("fault", "status", "written"),
    [
        ("drop", None, True),
        ("lose", None, False),
        ("fail", 500, False),
        ("fail-after", 500, True),
        ("lie", 200, False),
        ("unavailable", 503, False),
        ("throttle", 429, False),
        ("refuse", 422, False),
    ],
)
def test_a_write_goes_wrong_as_told_and_the_next_one_does_not(
    clinic: Clinic, fault: str, status: int | None, written: bool
) -> None:
    key = _new(clinic, phone="before")
    clinic.fail_writes("none", fault)
    assert _send(clinic, "PUT", f"patients/{key}", {"email": "a@b"}).status_code == 200
    if status is None:
        with pytest.raises(requests.exceptions.RequestException):
            _send(clinic, "PUT", f"patients/{key}", {"phone": "after"})
    else:
        answer = _send(clinic, "PUT", f"patients/{key}", {"phone": "after"})
        assert answer.status_code == status
        assert answer.json() == {"error": "the clinic was told to"}
    lies = get(clinic, f"api/patients/{key}").json()["phone"]
    assert lies == ("after" if written else "before")
    assert _send(clinic, "PUT", f"patients/{key}", {"phone": "last"}).status_code == 200
