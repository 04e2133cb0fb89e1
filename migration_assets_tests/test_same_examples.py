"""What Hypothesis draws is the same every time: no failure that comes and goes, none never seen.

A random failure is a result nobody can act on when it comes. Whoever wants other examples says so
(see ``conftest``).
"""

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from migration_assets_tests.delivery.plans import PLANS

_MADE_AT_IMPORT = settings(max_examples=20)
_DRAWN = {"at import": blake2b(digest_size=8), "by default": blake2b(digest_size=8)}
_PRINTS = "drawn: "
pytestmark = pytest.mark.skipif(
    settings.get_current_profile_name() != "same", reason="exploring draws others on purpose"
)


@_MADE_AT_IMPORT
@given(plan=PLANS)
def _draw_as_at_import(plan: object) -> None:
    _DRAWN["at import"].update(repr(plan).encode())


@given(number=st.integers(), text=st.text())
def _draw_by_default(number: int, text: str) -> None:
    _DRAWN["by default"].update(repr((number, text)).encode())


def _drawn() -> str:
    for each in _DRAWN:
        _DRAWN[each] = blake2b(digest_size=8)
    _draw_as_at_import()
    _draw_by_default()
    return _PRINTS + " ".join(each.hexdigest() for each in _DRAWN.values())


def test_draws() -> None:
    """For the next test to read what another process drew."""
    print(_drawn())  # noqa: T201


def test_another_process_draws_the_same_whatever_it_has_loaded() -> None:
    """Another seed for hashes, and more of our modules loaded: their constants are not drawn."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    more = ["-p", "migration_assets.demo.population", f"{__file__}::{test_draws.__name__}"]
    ran = subprocess.run(
        [*command, *more],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert _drawn() in ran.stdout.splitlines(), ran.stdout


def test_nothing_is_kept_from_one_run_of_the_suite_to_the_next() -> None:
    for each in (settings(), _MADE_AT_IMPORT):
        assert each.derandomize
        assert each.database is None
        assert each.deadline is None
