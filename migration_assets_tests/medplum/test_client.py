"""The client: credentials, and errors that say what to do and nothing else."""

import socket

import pytest
import requests
from pydantic import SecretStr

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent, Transient
from migration_assets.medplum import Ambiguous, MedplumClient, find_by_identifier
from migration_assets_tests.medplum.submissions import PATIENTS, deliver, patient, single

WRONG = "canary-secret"


def test_a_wrong_secret_is_explained_although_medplum_answers_400(sandbox: Sandbox) -> None:
    """Contract §1: never 401, never invalid_client."""
    client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(WRONG))
    with pytest.raises(Permanent, match="MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET") as caught:
        client.count("Patient")
    assert WRONG not in str(caught.value)


def test_an_expired_token_is_renewed_once_and_the_request_repeated(
    client: MedplumClient, sandbox: Sandbox
) -> None:
    assert client.count("Patient") == 0
    requests.post(
        f"{sandbox.base_url}oauth2/logout", headers=client._wire._credential.header(), timeout=10
    )
    assert client.count("Patient") == 0


def test_a_server_that_is_down_is_a_reason_to_try_later(sandbox: Sandbox) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        client = MedplumClient(url, "id", SecretStr(WRONG))
        with pytest.raises(Transient, match="MEDPLUM_BASE_URL"):
            client.count("Patient")


def test_a_bundle_that_is_not_answered_whole_is_ambiguous(client: MedplumClient) -> None:
    """Fewer entries than were asked for: which of them were carried out?"""
    body = b'{"resourceType":"Bundle","type":"batch","entry":[%s]}'
    entry = b'{"request":{"method":"GET","url":"Patient?_count=1"}}'
    with pytest.raises(Ambiguous, match="2 entries was answered with 1"):
        client.post_bundle(body % entry, 2)


def test_a_thousand_identifiers_are_found_with_their_doubles(client: MedplumClient) -> None:
    """A full answer may hide matches: it is asked again in halves."""
    keys = [f"P{n:04}" for n in range(1_050)]
    deliver(client, single(*(patient(key) for key in keys)))
    found = find_by_identifier(client, "Patient", [(PATIENTS, key) for key in [*keys, "none"]])
    assert all(len(found[PATIENTS, key]) == 1 for key in keys)
    assert found[PATIENTS, "none"] == []


def test_the_preflight_tells_whether_transactions_are_atomic(
    client: MedplumClient, sandbox: Sandbox
) -> None:
    assert client.transactions_available()
    sandbox.change(transactions=False)
    again = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr("invented-secret"))
    assert not again.transactions_available()
