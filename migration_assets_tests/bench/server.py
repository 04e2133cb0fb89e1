"""The Medplum server that deliveries are measured against: the sandbox, or a real one.

Belongs here: its address and credential, and how time passes before it. Does not belong here: what
is measured. The sandbox's quota windows are a minute long, as the real ones are, but nobody waits
for them: a sleep moves its windows and our clock on.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
from pydantic import SecretStr

from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.medplum import MedplumClient, Pacer
from migration_assets.settings import Settings

_CLIENT_ID = "5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11"
_SECRET = "invented-secret"
_NO_LIMIT = 1_000_000_000


@dataclass(frozen=True)
class Server:
    """One project on one server, by one client; ``sandbox`` is its control door, if it has one."""

    base_url: str
    client_id: str
    secret: SecretStr = field(repr=False)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    sandbox: Sandbox | None = None

    def client(self, manifest: Manifest | None = None) -> MedplumClient:
        """The product's own client, as a run opens it on an account."""
        pacer = Pacer(
            clock=self.epoch,
            sleep=self.sleep,
            ledgers=manifest,
            name=f"{self.client_id} at {self.base_url}",
        )
        return MedplumClient(
            self.base_url,
            self.client_id,
            self.secret,
            clock=self.clock,
            sleep=self.sleep,
            pacer=pacer,
        )

    def epoch(self) -> float:
        """Seconds since 1970, moved on with the quota windows."""
        return time.time() - time.monotonic() + self.clock()

    def now(self) -> datetime:
        """The time of day, moved on with the quota windows."""
        return datetime.fromtimestamp(self.epoch(), UTC)

    def session(self) -> requests.Session:
        """A logged-in session without anything of ours around it; for loaders and meters."""
        session = requests.Session()
        session.trust_env = False
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.secret.get_secret_value(),
        }
        answer = session.post(
            f"{self.base_url}oauth2/token", data=form, timeout=60, allow_redirects=False
        )
        if answer.status_code != requests.codes.ok:
            raise Permanent(
                f"Logging in to measure was answered {answer.status_code}: are MEDPLUM_BASE_URL, "
                "MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET right?"
            )
        token = answer.json()["access_token"]
        session.headers.update(
            {"Content-Type": "application/fhir+json", "Authorization": f"Bearer {token}"}
        )
        return session

    @property
    def fhir(self) -> str:
        """The FHIR base, without a slash at its end."""
        return f"{self.base_url}fhir/R4"


@contextmanager
def sandbox_server() -> Iterator[Server]:
    """A fresh sandbox without a limit, whose quota windows pass as soon as somebody waits."""
    with start_sandbox(
        None, client_id=_CLIENT_ID, client_secret=_SECRET, quota_per_minute=_NO_LIMIT
    ) as sandbox:
        skipped = 0.0

        def sleep(seconds: float) -> None:
            nonlocal skipped
            sandbox.advance(seconds)
            skipped += seconds

        yield Server(
            sandbox.base_url,
            _CLIENT_ID,
            SecretStr(_SECRET),
            clock=lambda: time.monotonic() + skipped,
            sleep=sleep,
            sandbox=sandbox,
        )


def real_server(settings: Settings) -> Server | None:
    """The server that MEDPLUM_BASE_URL and its client name, if they are set."""
    secret = settings.medplum_client_secret
    if not settings.medplum_base_url or not settings.medplum_client_id or secret is None:
        return None
    return Server(settings.medplum_base_url, settings.medplum_client_id, secret)
