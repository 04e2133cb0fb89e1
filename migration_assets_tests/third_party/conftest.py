"""The third-party servers' packages: without them a test skips loudly, or fails where it must not.

CI sets MIGRATION_TEST_REQUIRE_THIRD_PARTY: there a test that does not run is a failure.
"""

import os

import pytest

from migration_assets.errors import Permanent
from migration_assets_tests.third_party import packages

_REQUIRED = bool(os.environ.get("MIGRATION_TEST_REQUIRE_THIRD_PARTY"))


@pytest.fixture(scope="session")
def servers() -> None:
    """The packages are here, fetched if need be."""
    try:
        packages.python()
        packages.node_modules()
    except (packages.NotInstalledError, Permanent) as error:
        if _REQUIRED:
            raise
        pytest.skip(f"NO THIRD-PARTY SERVERS, so nothing is proved against them: {error}")
