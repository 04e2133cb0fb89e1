"""Slips that a description's author makes: told when it is loaded, without what was written."""

from typing import Any

import pytest

from migration_assets.errors import Permanent
from migration_assets_tests.legacy.conftest import SECRET, MakePuller
from migration_assets_tests.legacy.test_description import load, load_stream


@pytest.mark.parametrize(
    "changes",
    [
        {"http": {SECRET: None}},
        {"http": {"attempts": 3, f"https://user:{SECRET}@x.org": 1}},
        {SECRET: 1},
        {"auth": {"type": "bearer", "token": {"env": "X"}, SECRET: None}},
    ],
)
def test_a_secret_where_a_field_should_stand_is_not_repeated(changes: dict[str, Any]) -> None:
    """YAML takes ``{secret}`` for a mapping from it to nothing."""
    with pytest.raises(Permanent, match=r"\(a name that is not shown\): is not a field") as caught:
        load(**changes)
    assert SECRET not in str(caught.value)


def test_a_misspelt_field_is_named() -> None:
    with pytest.raises(Permanent, match=r"http\.atempts: is not a field"):
        load(http={"atempts": 3})


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": [{"requests": 10**30, "per_seconds": 1}]},
        {"limits": [{"requests": 1, "per_seconds": 1e300}]},
        {"limits": [{"requests": 1, "per_seconds": float("inf")}]},
        *[
            {"http": {name: value}}
            for name in ("timeout_connect", "timeout_read", "deadline", "max_wait", "max_backoff")
            for value in (1e300, float("inf"), float("nan"))
        ],
    ],
)
def test_a_time_that_python_could_not_wait_for_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match=r"limits\[0\]|http\."):
        load(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {
                "auth": {
                    "type": "oauth2_client_credentials",
                    "token_url": "http://[",
                    "client_id": {"env": "LEGACY_TOKEN"},
                    "client_secret": {"env": "LEGACY_TOKEN"},
                }
            },
            "token_url should begin with https",
        ),
        ({"http": {"verify": "x" * 5_000}}, r"http\.verify names"),
        ({"http": {"decoder": ":x"}}, "no decoder plug-in :x"),
        ({"http": {"decoder": ".:x"}}, r"no decoder plug-in \.:x"),
    ],
)
def test_what_names_nothing_is_told_before_any_request(
    puller: MakePuller, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Permanent, match=says):
        puller(**changes)


@pytest.mark.parametrize("name", ["precision_seconds", "lookback_seconds", "max_window_seconds"])
@pytest.mark.parametrize("value", [1e300, float("inf"), float("nan")])
def test_a_span_beyond_the_calendar_is_refused(name: str, value: float) -> None:
    cursor = {
        "field": "at",
        "param": "since",
        "until_param": "until",
        "earliest": "2010-01-01T00:00:00Z",
        name: value,
    }
    with pytest.raises(Permanent, match=name):
        load_stream(cursor=cursor)
