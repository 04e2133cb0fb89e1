"""What urllib3 logs of real requests: that one was made and how it ended, never where to."""

import logging

import pytest

from migration_assets.medplum.auth import new_session
from migration_assets.private_addresses import LOGGERS, keep_addresses_private
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply

CANARY = "Kanarienvogel"


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they say is heard, although another test's logging configuration switched them off."""
    for name in LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        caplog.set_level(logging.DEBUG, logger=name)


def test_a_request_is_logged_without_its_path_and_query(caplog: pytest.LogCaptureFixture) -> None:
    """The pages of a source are asked for at addresses it made up: `?after=Miller`."""
    caplog.set_level(logging.DEBUG)
    with LegacyServer() as server:
        path = f"/patients/{CANARY}"
        server.answers(path, Reply(b"{}"))
        new_session().get(f"{server.url}{path}?name={CANARY}", timeout=10)
    assert '"GET (address left out) HTTP/1.1" 200' in caplog.text
    assert "Starting new HTTP connection" in caplog.text
    assert CANARY not in caplog.text


def test_headers_that_cannot_be_read_are_logged_without_the_headers_and_the_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warning: it is in the log of everybody who never asked for DEBUG."""
    with LegacyServer() as server:
        headers = {"Connection": "close", "X-Who": f"x\r\nno header of {CANARY}"}
        server.answers("/patients", Reply(b"{}", headers=headers))
        new_session().get(f"{server.url}/patients?name={CANARY}", timeout=10)
    (warned,) = [each for each in caplog.records if each.name == "urllib3.connection"]
    assert "left out, it may name a patient" in caplog.text
    assert CANARY not in f"{caplog.text} {vars(warned)}"


@pytest.mark.parametrize("name", LOGGERS)
def test_what_a_later_urllib3_may_say_is_left_out_whole(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    keep_addresses_private()
    keep_addresses_private()
    logger = logging.getLogger(name)
    assert len(logger.filters) == 1, "installed once, however many sessions are made"
    logger.warning("something new about %s", CANARY)
    logger.warning(f"something new about {CANARY}")  # noqa: G004 - what is tested
    assert caplog.text.count("left out, it may name a patient") == 2
    assert CANARY not in caplog.text
