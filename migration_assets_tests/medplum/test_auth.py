"""Credentials: fetched seldom, renewed in time, explained when wrong, never told."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from pydantic import SecretStr

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent, Transient
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.auth import BasicCredential, ClientCredentials
from migration_assets_tests.medplum.conftest import SECRET
from migration_assets_tests.medplum.scripted_server import TOKEN, Said, Script, scripted_server
from migration_assets_tests.medplum.submissions import deliver, patient, single

CANARY = "canary-secret"
EMPTY = Said(200, {"resourceType": "Bundle", "total": 0})
UNAUTHORIZED = Said(401, {"resourceType": "OperationOutcome", "issue": [{"code": "login"}]})


@pytest.fixture
def server() -> Iterator[Script]:
    """A server that grants a token and holds no patients."""
    with scripted_server() as script:
        script.say("/fhir/R4/Patient", EMPTY)
        yield script


def client_of(server: Script, clock: list[float] | None = None) -> MedplumClient:
    """A client whose clock a test may turn."""
    now = clock or [0.0]
    return MedplumClient(
        server.base_url,
        "id",
        SecretStr(CANARY),
        clock=lambda: now[0],
        sleep=lambda _seconds: None,
    )


def test_a_token_is_renewed_before_it_expires_and_not_for_every_request(server: Script) -> None:
    """A long bundle would be refused at its start, and 160 tokens a minute are all there are."""
    clock = [0.0]
    client = client_of(server, clock)
    for at, fetched in ((0.0, 1), (3_500.0, 1), (3_541.0, 2), (3_600.0, 2)):
        clock[0] = at
        client.count("Patient")
        assert len(server.at("/oauth2/token")) == fetched


def test_a_token_that_lives_for_seconds_is_used_all_the_same(server: Script) -> None:
    """ClientApplication.accessTokenLifetime may be shorter than our margin."""
    clock = [0.0]
    server.say("/oauth2/token", Said(200, {"access_token": "t", "expires_in": 10}))
    client = client_of(server, clock)
    for at, fetched in ((0.0, 1), (4.0, 1), (6.0, 2)):
        clock[0] = at
        client.count("Patient")
        assert len(server.at("/oauth2/token")) == fetched


def test_a_refused_token_is_replaced_once_and_the_request_repeated(server: Script) -> None:
    server.say("/fhir/R4/Patient", UNAUTHORIZED, EMPTY)
    assert client_of(server).count("Patient") == 0
    assert len(server.at("/oauth2/token")) == 2
    assert len(server.at("/fhir/R4")) == 2


def test_a_token_refused_again_is_a_persons_matter_and_not_tried_for_ever(server: Script) -> None:
    server.say("/fhir/R4/Patient", UNAUTHORIZED)
    with pytest.raises(Permanent, match="AccessPolicy"):
        client_of(server).count("Patient")
    assert len(server.at("/fhir/R4")) == 2


def test_threads_refused_together_ask_for_one_new_token(server: Script) -> None:
    """Each for itself would spend the token endpoint's minute of a whole fleet."""
    tokens = [Said(200, {"access_token": f"t{n}", "expires_in": 3600}) for n in range(9)]
    server.say("/oauth2/token", *tokens)
    credential = ClientCredentials(server.base_url, "id", SecretStr(CANARY), timeout=(5.0, 5.0))
    refused = credential.header()
    together = Barrier(8)

    def renew(_number: int) -> str:
        together.wait(timeout=10)
        return credential.header(refused=refused)["Authorization"]

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(renew, range(8))) == {"Bearer t1"}
    assert len(server.at("/oauth2/token")) == 2


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        (Said(429, {}, {"RateLimit": '"requests";r=0;t=42'}), 42.0),
        (Said(429, {}), 60.0),
        (Said(503, b"<html>"), None),
    ],
)
def test_a_token_endpoint_that_refuses_for_now_names_the_wait(
    server: Script, said: Said, wait: float | None
) -> None:
    server.say("/oauth2/token", said)
    with pytest.raises(Transient) as caught:
        client_of(server).post_bundle(b"{}", 0)
    assert caught.value.retry_after == wait


def test_a_throttled_token_endpoint_is_waited_for_in_the_middle_of_a_delivery(
    server: Script,
) -> None:
    """The whole delivery would end at it, although nothing was sent yet."""
    server.say("/oauth2/token", Said(429, {}), Said(503, {}), TOKEN)
    created = {
        "response": {"status": "201", "location": "Patient/a"},
        "resource": {"id": "a", "meta": {"versionId": "1"}},
    }
    server.say("/fhir/R4", Said(200, {"resourceType": "Bundle", "entry": [created]}))
    server.say("/fhir/R4/Patient/_search", EMPTY)
    (written,) = deliver(client_of(server), single(patient("P1")))
    assert [each.event for each in written.answers] == ["created"]
    assert len(server.at("/oauth2/token")) == 3


@pytest.mark.parametrize("status", [400, 401])
def test_wrong_credentials_are_named_and_not_shown(server: Script, status: int) -> None:
    """Contract §1: 400 invalid_request, whatever is wrong."""
    told = {"error": "invalid_request", "error_description": f"Invalid secret {CANARY}"}
    server.say("/oauth2/token", Said(status, told))
    with pytest.raises(Permanent, match="MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET") as caught:
        client_of(server).count("Patient")
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("said", [Said(200, {"token": "x"}), Said(200, b"<html>"), Said(302)])
def test_an_answer_without_a_token_is_explained(server: Script, said: Said) -> None:
    server.say("/oauth2/token", said)
    with pytest.raises(Permanent, match="MEDPLUM_BASE_URL"):
        client_of(server).count("Patient")


# -- Basic ---------------------------------------------------------------------------------------


@pytest.mark.sandbox
def test_basic_needs_no_token_at_all(sandbox: Sandbox) -> None:
    """Contract §1: it works on FHIR URLs, and no Redis flush can end it."""
    client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET), auth="basic")
    (written,) = deliver(client, single(patient("P1")))
    assert [each.event for each in written.answers] == ["created"]
    assert sandbox.stats()["logins"] == 0


def test_a_wrong_basic_secret_is_refused_once(server: Script) -> None:
    server.say("/fhir/R4/Patient", UNAUTHORIZED)
    client = MedplumClient(server.base_url, "id", SecretStr(CANARY), auth="basic")
    with pytest.raises(Permanent, match="MEDPLUM_CLIENT_SECRET") as caught:
        client.count("Patient")
    assert CANARY not in str(caught.value)
    (asked,) = server.at("/fhir/R4")
    sent = base64.b64decode(asked.headers["Authorization"].removeprefix("Basic "))
    assert sent == f"id:{CANARY}".encode()


@pytest.mark.parametrize("kind", ["basic", "client_credentials"])
def test_no_credential_shows_its_secret(kind: str) -> None:
    secret = SecretStr(CANARY)
    credential = (
        BasicCredential("id", secret)
        if kind == "basic"
        else ClientCredentials("http://127.0.0.1:1/", "id", secret, timeout=(1.0, 1.0))
    )
    shown = f"{credential!r} {vars(credential)!r}"
    assert CANARY not in shown
    assert base64.b64encode(f"id:{CANARY}".encode()).decode() not in shown
