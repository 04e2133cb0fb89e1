"""The only reader of the environment: every setting, typed, with its secrets masked.

Belongs here: names, types, defaults of settings, and the sentence said when one is missing or
contradicts another. Does not belong here: using them. ``.env.example`` lists them for people; a
test keeps the two equal.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from migration_assets.errors import Permanent
from migration_assets.retention import Policy, read_policy

_LOOPBACK = ("http://127.0.0.1", "http://localhost", "http://[::1]")


def _slashed(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// (http:// only to this machine)")
    return url if url.endswith("/") else url + "/"


def _policy(text: str) -> str:
    read_policy(text)
    return text


def _marker(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[a-z][a-z0-9+.-]*:[^|\s]+\|[^|\s]+", text):
        raise ValueError("must be system|code, e.g. https://clinic.example/tags|migrated")
    return text


Url = Annotated[str, AfterValidator(_slashed)]


class Settings(BaseSettings):
    """Everything that differs between two installations."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        populate_by_name=True,
        env_ignore_empty=True,  # a line of .env.example that was not filled in is not a setting
    )

    source: Path | None = Field(
        None, alias="MIGRATION_SOURCE", description="YAML description of the legacy REST API"
    )
    manifest_url: str = Field(
        "sqlite:///manifest.db",
        alias="MIGRATION_MANIFEST_URL",
        description="database of the account: sqlite:///file or postgresql://user:pass@host/db",
    )
    adoption: Path | None = Field(
        None,
        alias="MIGRATION_ADOPTION",
        description="adoption.toml: type = phase; without one every type rehearses",
    )
    mappings: Path | None = Field(
        None,
        alias="MIGRATION_MAPPINGS",
        description="a folder with further mapping files, beside those of the package",
    )
    built_in_mappings: bool = Field(
        default=True,
        alias="MIGRATION_BUILT_IN_MAPPINGS",
        description="false: only the mappings of MIGRATION_MAPPINGS, not those of the package",
    )
    start: date = Field(
        date(2024, 1, 1),
        alias="MIGRATION_START",
        description="first partition; rows changed before it are pulled with that partition",
    )
    partitions: Literal["monthly", "weekly", "daily"] = Field(
        "monthly", alias="MIGRATION_PARTITIONS", description="size of a partition of change time"
    )
    backfill_partitions_per_run: int = Field(
        0,
        ge=0,
        alias="MIGRATION_BACKFILL_PARTITIONS_PER_RUN",
        description="a backfill in runs of so many partitions, side by side; 0: all in one run",
    )
    code_url: str | None = Field(
        None,
        alias="MIGRATION_CODE_URL",
        description="where the UI's code links lead, e.g. https://github.com/me/clinic/blob/main",
    )
    poll_seconds: int = Field(
        5,
        ge=1,
        alias="MIGRATION_POLL_SECONDS",
        description="how often the sensor looks for changes; a fifth of the API's limits at most",
    )
    medplum_base_url: Url | None = Field(
        None, alias="MEDPLUM_BASE_URL", description="Medplum server, e.g. https://api.medplum.com/"
    )
    medplum_client_id: str | None = Field(
        None, alias="MEDPLUM_CLIENT_ID", description="ClientApplication id"
    )
    medplum_client_secret: SecretStr | None = Field(
        None, alias="MEDPLUM_CLIENT_SECRET", description="its secret"
    )
    medplum_auth: Literal["client_credentials", "basic"] = Field(
        "client_credentials",
        alias="MEDPLUM_AUTH",
        description="how the client says who it is; basic sends the secret with every request",
    )
    medplum_concurrency: int = Field(
        4,
        ge=1,
        le=16,
        alias="MEDPLUM_CONCURRENCY",
        description="bundles under way at most, of writes that cannot collide; falls by itself",
    )
    medplum_delivery: Literal["batch", "async_batch"] = Field(
        "batch",
        alias="MEDPLUM_DELIVERY",
        description="async_batch hands bundles in as jobs, which the server works off by itself",
    )
    allow_plain_http: bool = Field(
        default=False,
        alias="MIGRATION_ALLOW_PLAIN_HTTP",
        description="permit http:// to other machines: patient data would travel unencrypted",
    )
    deadline_seconds: int = Field(
        3600,
        ge=1,
        alias="MIGRATION_DEADLINE_SECONDS",
        description="how long one run may keep retrying what Medplum throttles or refuses for now",
    )
    encryption_keys: SecretStr | None = Field(
        None,
        alias="MIGRATION_ENCRYPTION_KEYS",
        description="seal landed rows at rest: keys of `migration seal --new-key`, newest first",
    )
    retention: Annotated[str, AfterValidator(_policy)] = Field(
        "forever",
        alias="MIGRATION_RETENTION",
        description="how long migrated rows are kept: forever, until_migrated or N days; per "
        "stream after a semicolon: forever; observations: 30 days",
    )
    error_rate: float = Field(
        0.5,
        gt=0,
        le=1,
        alias="MIGRATION_ERROR_RATE",
        description="share of a stream's rows that may fail in a run before the stream is paused",
    )
    error_count: int = Field(
        100,
        ge=1,
        alias="MIGRATION_ERROR_COUNT",
        description="and how many must have failed for that: a few bad rows pause nothing",
    )
    exceptions_share: float = Field(
        0.01,
        ge=0,
        le=1,
        alias="MIGRATION_EXCEPTIONS_SHARE",
        description="share of a type's rows that may not have arrived before its check fails",
    )
    exceptions_gate: float | None = Field(
        None,
        ge=0,
        le=1,
        alias="MIGRATION_EXCEPTIONS_GATE",
        description="and before its runs fail and what rests on it does not start; empty: never",
    )
    gate_days: int = Field(
        7,
        ge=0,
        alias="MIGRATION_GATE_DAYS",
        description="how many days a phase's exit gate looks back, and asks to have been in it",
    )
    discrepancy_share: float = Field(
        0.01,
        ge=0,
        le=1,
        alias="MIGRATION_DISCREPANCY_SHARE",
        description="share of compared records that may differ for a phase's exit gate to open",
    )
    flags: Path | None = Field(
        None,
        alias="MIGRATION_FLAGS",
        description="JSON file in which front ends find which system to read and write, by type",
    )
    cutover_quiet_polls: int = Field(
        3,
        ge=1,
        alias="MIGRATION_CUTOVER_QUIET_POLLS",
        description="looks in a row without news that prove a frozen legacy system",
    )
    cutover_quiet_seconds: int = Field(
        600,
        ge=0,
        alias="MIGRATION_CUTOVER_QUIET_SECONDS",
        description="and over how long a time they are to lie",
    )
    cutover_observe_hours: float = Field(
        168,
        ge=0,
        alias="MIGRATION_CUTOVER_OBSERVE_HOURS",
        description="how long a flipped type is observed before the legacy system is retired",
    )
    cutover_sample: int = Field(
        0,
        ge=0,
        alias="MIGRATION_CUTOVER_SAMPLE",
        description="compare the content of so many resources before a flip; 0: of all",
    )
    cutover_reports: Path = Field(
        Path("report"),
        alias="MIGRATION_CUTOVER_REPORTS",
        description="folder for the final report of each retired type",
    )
    marker: Annotated[str | None, AfterValidator(_marker)] = Field(
        None,
        alias="MIGRATION_MARKER",
        description="constant meta.tag on everything migrated: system|code; changed, all of it is "
        "written anew",
    )
    inbox_tokens: SecretStr | None = Field(
        None,
        alias="MIGRATION_INBOX_TOKENS",
        description="who may send to the inbox: name=token or name[stream,fhir/Type]=token, with "
        "blanks between",
    )
    fresh_seconds: int = Field(
        3600,
        ge=60,
        alias="MIGRATION_FRESH_SECONDS",
        description="how long ago a stream may have been asked for news before its check fails; "
        "a description's fresh_seconds goes before",
    )
    demo_home: Path | None = Field(
        None,
        alias="MIGRATION_DEMO_HOME",
        description="state folder of the demo clinic; set by `migration demo`, not by hand",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        url = self.medplum_base_url
        plain = bool(url) and str(url).startswith("http://") and not str(url).startswith(_LOOPBACK)
        if plain and not self.allow_plain_http:
            raise ValueError(
                "MEDPLUM_BASE_URL is plain http to another machine, which would send patient "
                "data unencrypted: use https, or set MIGRATION_ALLOW_PLAIN_HTTP=true"
            )
        given = [self.medplum_base_url, self.medplum_client_id, self.medplum_client_secret]
        if any(given) and not all(given):
            raise ValueError(
                "MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET belong together: "
                "set all three, or none to rehearse without Medplum"
            )
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that landed rows are sealed with, newest first; a comma between them."""
        if self.encryption_keys is None:
            return ()
        return tuple(each for each in self.encryption_keys.get_secret_value().split(",") if each)

    @property
    def marker_tag(self) -> tuple[str, str] | None:
        """System and code of the tag on everything migrated, if there is to be one."""
        if self.marker is None:
            return None
        system, _, code = self.marker.partition("|")
        return system, code

    @property
    def policy(self) -> Policy:
        """How long landed rows are kept."""
        return read_policy(self.retention)

    @property
    def start_at(self) -> datetime:
        """The instant the first partition begins."""
        return datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)


def read_settings(env_file: Path | None = Path(".env")) -> Settings:
    """The settings from the environment, and from ``.env`` for what the environment leaves out.

    Raises:
        Permanent: one sentence per setting that is wrong; never its value.
    """
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        said = [
            f"{'.'.join(str(part) for part in each['loc']) or 'settings'}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        ]
        raise Permanent("A setting is wrong. " + " · ".join(said)) from None


def read_environ(env_file: Path | None = Path(".env")) -> Mapping[str, str]:
    """The variables a source description may refer to: the environment, over ``.env``."""
    from_file = dotenv_values(env_file) if env_file is not None and env_file.exists() else {}
    return {name: value for name, value in from_file.items() if value is not None} | dict(
        os.environ
    )
