"""``Connections``: what a run opens, made from the settings when the run starts.

Belongs here: settings → source, manifest, Medplum, for Dagster and the CLI alike. Does not belong
here: Dagster, or doing anything with what was opened. Nothing is opened at import: a code
location loads with no network and nothing set.
"""

import time
from collections.abc import Callable, Iterator
from collections.abc import Mapping as MappingOf
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from migration_assets.adoption import Adoption, read_adoption
from migration_assets.adoption.gates import Bounds
from migration_assets.errors import Permanent
from migration_assets.legacy import Puller, Source, load_description
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.mappings import discover
from migration_assets.medplum import Manner, MedplumClient, Pacer
from migration_assets.run import Progress, Run, Silent
from migration_assets.settings import Settings, read_environ
from migration_assets.steps.coverage import window_keys
from migration_assets.thresholds import Threshold, Tolerance

PIPELINE_VERSION = version("migration_assets")


def _now() -> datetime:
    return datetime.now(UTC)


def mappings_of(settings: Settings) -> dict[str, Mapping[Any]]:
    """The mappings these settings mean, by type, in load order; raises as ``discover`` does."""
    folders = [settings.mappings] if settings.mappings else []
    found = discover(*folders, built_in=settings.built_in_mappings)
    marker = settings.marker_tag
    return {name: replace(each, marker=marker) for name, each in found.items()} if marker else found


def _nothing_to_start(_settings: Settings) -> None:
    """A real installation's services are not ours to start."""


def _whenever() -> None:
    pass


def _as_described(source: Source) -> Source:
    return source


@dataclass(frozen=True)
class _LandedDetails:
    """The details a source served before are the rows on account: nothing is kept twice."""

    manifest: Manifest
    before: Callable[[], None]

    def get(self, stream: str, key: str, changed_at: datetime) -> Any:
        """The row on account for this change time, or None."""
        self.before()
        return self.manifest.landed_row(stream, key, changed_at)

    def put(self, stream: str, key: str, changed_at: datetime, detail: Any) -> None:
        """Nothing: a detail is kept when its row lands."""


@dataclass(frozen=True)
class Connections:
    """Opens what a run needs; tests and the demo hand over other parts.

    ``asking`` changes the description for what is opened here, and ``sleep`` is how a source's
    limits are waited for: a run may ask otherwise for once, and a probe has no time to wait.
    ``before_detail`` is called before a row's detail is looked for, and may forbid it by raising.
    """

    settings: Settings
    environ: Callable[[], MappingOf[str, str]] = read_environ
    progress: Progress = field(default_factory=Silent)
    clock: Callable[[], datetime] = _now
    before_use: Callable[[Settings], None] = _nothing_to_start
    asking: Callable[[Source], Source] = _as_described
    sleep: Callable[[float], None] = time.sleep
    before_detail: Callable[[], None] = _whenever

    def adoption(self) -> Adoption:
        """The standings of adoption.toml; without one every type rehearses."""
        path = self.settings.adoption
        return (
            read_adoption(_text(path, "MIGRATION_ADOPTION"), name=path.name)
            if path
            else (read_adoption(""))
        )

    def source(self) -> Source:
        """The description of the legacy API. Raises Permanent when there is none."""
        if self.settings.source is None:
            raise Permanent(
                "No source is set: point MIGRATION_SOURCE at the YAML description of the legacy "
                "API (README, 'Your own source'), or try `migration demo`."
            )
        return load_description(self.settings.source)

    def puller(self, manifest: Manifest | None = None) -> Puller:
        """A puller of the source; through the manifest it shares its limits with others."""
        self.before_use(self.settings)
        return Puller(
            self.asking(self.source()),
            environ=self.environ(),
            clock=time.time,
            sleep=self.sleep,
            history=manifest,
            details=_LandedDetails(manifest, self.before_detail) if manifest is not None else None,
        )

    def medplum(self, manifest: Manifest | None = None) -> MedplumClient | None:
        """The Medplum project, or None where no credentials are set (rehearsal).

        Through the manifest it shares the client's quota with other processes.
        """
        settings = self.settings
        secret = settings.medplum_client_secret
        if not settings.medplum_base_url or not settings.medplum_client_id or secret is None:
            return None
        self.before_use(settings)
        url, client_id = settings.medplum_base_url, settings.medplum_client_id
        pacer = Pacer(clock=time.time, ledgers=manifest, name=f"{client_id} at {url}")
        return MedplumClient(url, client_id, secret, auth=settings.medplum_auth, pacer=pacer)

    @property
    def tolerance(self) -> Tolerance:
        """How much need not have arrived."""
        return Tolerance(self.settings.exceptions_share, self.settings.exceptions_gate)

    @property
    def bounds(self) -> Bounds:
        """What is good enough for a phase's exit gate."""
        settings = self.settings
        return Bounds(
            share=settings.discrepancy_share,
            days=settings.gate_days,
            lag_seconds=settings.fresh_seconds,
            windows=partial(window_keys, settings.partitions, settings.start_at),
        )

    @contextmanager
    def manifest(self) -> Iterator[Manifest]:
        """The account, open for as long as it is needed."""
        manifest = Manifest(self.settings.manifest_url, clock=self.clock, keys=self.settings.keys)
        try:
            yield manifest
        finally:
            manifest.close()

    @contextmanager
    def run(self, label: str, *, dry: bool = False) -> Iterator[Run]:
        """Everything for one run; ``dry`` leaves Medplum out, so that nothing can be written."""
        with self.manifest() as manifest:
            run_id = manifest.start_run(label, pipeline_version=PIPELINE_VERSION)
            fhir = None if dry else self.medplum(manifest)
            # Closed here and not by the collector: a Ctrl-C that meets a finalizer is lost.
            with closing(self.puller(manifest)) as puller, closing(fhir or _Nothing()):
                yield Run(
                    id=run_id,
                    label=label,
                    manifest=manifest,
                    puller=puller,
                    adoption=self.adoption(),
                    fhir=fhir,
                    deadline_seconds=self.settings.deadline_seconds,
                    manner=Manner(
                        max_concurrency=self.settings.medplum_concurrency,
                        via=self.settings.medplum_delivery,
                    ),
                    progress=self.progress,
                    threshold=Threshold(self.settings.error_rate, self.settings.error_count),
                    tolerance=self.tolerance,
                )
            manifest.finish_run(run_id)


class _Nothing:
    """Nothing that needs closing."""

    def close(self) -> None:
        """Do nothing."""


def _text(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Permanent(
            f"{setting} names a file that cannot be read ({error.strerror}): {path.name}."
        ) from error
