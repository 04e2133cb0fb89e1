"""The demo's state folder: where everything lies, and the settings that point the product at it.

Belongs here: paths, the invented credentials, the ``.env`` that lets every other command see the
demo's state. Does not belong here: starting anything.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

ENV_MARK = (
    "# Written by `migration demo`. Delete it, or run `migration demo --reset`, to be rid of it."
)
"""First line of a .env that is ours to rewrite or remove; anybody else's is left alone."""

_PACKAGE = Path(__file__).parent
_DAGSTER = _PACKAGE.parent / "defs" / "dagster.yaml"
"""The file every installation on one machine uses; the demo has no other truth."""


@dataclass(frozen=True)
class Home:
    """One demo's folder. The credentials are invented and guard only loopback servers."""

    folder: Path

    api_key = "demo-clinic-key"
    admin_key = "demo-clinic-admin-key"
    client_id = "5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11"
    client_secret = "demo-medplum-secret"  # noqa: S105 - of a sandbox on loopback

    @property
    def clinic(self) -> Path:
        """The clinic's database."""
        return self.folder / "clinic.db"

    @property
    def adoption(self) -> Path:
        """Where every type stands in the demo."""
        return self.folder / "adoption.toml"

    @property
    def sandbox(self) -> Path:
        """The sandbox's state."""
        return self.folder / "medplum"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME of the demo."""
        return self.folder / "dagster"

    @property
    def users(self) -> Path:
        """Who uses the services at present: a file per process id (see ``services``)."""
        return self.folder / "users"

    @property
    def ports_file(self) -> Path:
        """The ports in use, so that addresses stay the same from run to run."""
        return self.folder / "ports.json"

    def create(self) -> None:
        """Make the folder, readable by its owner only, with Dagster's configuration in it."""
        for each in (self.folder, self.dagster, self.users):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        shipped = _DAGSTER.read_text(encoding="utf-8")
        (self.dagster / "dagster.yaml").write_text(shipped, encoding="utf-8")

    def ports(self) -> tuple[int, int]:
        """Ports of the clinic and the sandbox last used, or zeros."""
        try:
            clinic, medplum = json.loads(self.ports_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0, 0
        return int(clinic), int(medplum)

    def keep_ports(self, clinic: int, medplum: int) -> None:
        """Remember the ports for the next run."""
        self.ports_file.write_text(json.dumps([clinic, medplum]), encoding="utf-8")

    def environment(self, clinic_url: str, medplum_url: str) -> dict[str, str]:
        """The settings of a product that migrates this clinic into this sandbox."""
        folder = self.folder.resolve()
        return {
            "MIGRATION_SOURCE": str(_PACKAGE / "clinic.yaml"),
            "MIGRATION_MANIFEST_URL": f"sqlite:///{folder / 'manifest.db'}",
            "MIGRATION_ADOPTION": str(folder / "adoption.toml"),
            "MIGRATION_START": (folder / "start").read_text(encoding="utf-8").strip(),
            "MIGRATION_DEMO_HOME": str(folder),
            "MIGRATION_LEGACY_URL": clinic_url,
            "MIGRATION_LEGACY_API_KEY": self.api_key,
            "MEDPLUM_BASE_URL": medplum_url,
            "MEDPLUM_CLIENT_ID": self.client_id,
            "MEDPLUM_CLIENT_SECRET": self.client_secret,
            "DAGSTER_HOME": str(folder / "dagster"),
            "DAGSTER_REDACT_USER_CODE_ERRORS": "1",
        }


def write_env_file(path: Path, environment: dict[str, str]) -> bool:
    """Write ``.env`` for the commands that follow; False if somebody else's stands there."""
    if path.exists() and not is_ours(path):
        return False
    lines = [ENV_MARK, *(f"{name}={value}" for name, value in environment.items()), ""]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    return True


def is_ours(path: Path) -> bool:
    """Whether a .env was written by the demo."""
    try:
        return path.read_text(encoding="utf-8").startswith(ENV_MARK)
    except OSError:
        return False
