"""A small clinic for a test, founded in a blink, and its URLs as a stranger would ask for them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from migration_assets.demo.clinic_server import Clinic
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.population import generate

API_KEY, ADMIN_KEY = "key-of-the-tests", "admin-key-of-the-tests"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def found(folder: Path, *, patients: int = 40, seed: int = 7) -> Path:
    """A clinic's database."""
    path = folder / "clinic.db"
    with ClinicStore(path) as store:
        store.load(generate(patients, seed, NOW))
    return path


def get(clinic: Clinic, path: str, **params: Any) -> requests.Response:
    """What the API answers to somebody with the key."""
    return requests.get(
        clinic.base_url + path.lstrip("/"),
        params=params,
        headers={"X-API-Key": API_KEY},
        timeout=30,
    )


def pages(clinic: Clinic, stream: str, **params: Any) -> list[list[Any]]:
    """Every page of a stream, following ``next``."""
    answer = get(clinic, f"api/{stream}", **params).json()
    found = [answer["rows"]]
    while answer["next"]:
        answer = get(clinic, answer["next"]).json()
        found.append(answer["rows"])
    return found


def rows(clinic: Clinic, stream: str, **params: Any) -> list[Any]:
    """Every row of a stream."""
    return [row for page in pages(clinic, stream, **params) for row in page]
