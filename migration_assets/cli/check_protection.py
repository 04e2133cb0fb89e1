"""What ``migration check`` says of encryption at rest and retention."""

from collections.abc import Iterator

from migration_assets.cli.findings import Finding
from migration_assets.counting import several
from migration_assets.manifest import Manifest
from migration_assets.manifest.sealing import SETTING, Seals
from migration_assets.settings import Settings

_NAME = "encryption at rest"


def protection(manifest: Manifest, settings: Settings) -> Iterator[Finding]:
    """Whether every landed row can be read, and is sealed with the newest key."""
    yield _encryption(manifest, Seals(settings.keys).names)
    kept = "forever" if settings.policy.is_forever else settings.retention
    yield Finding("retention", "ok", f"landed rows are kept: {kept}")


def _encryption(manifest: Manifest, names: list[str]) -> Finding:
    standing = manifest.protection.rotation.standing()
    strange = {name: rows for name, rows in standing.by_key.items() if name not in names}
    if strange:
        told = ", ".join(f"{rows:,} with {name}" for name, rows in strange.items())
        return Finding(
            _NAME,
            "failed",
            f"rows are sealed with keys that are not set: {told}. Add these to {SETTING}.",
        )
    if not names:
        return Finding(_NAME, "ok", f"off: {SETTING} is not set; the file's mode protects the rows")
    older = sum(standing.by_key.get(name, 0) for name in names[1:])
    if standing.open or older:
        return Finding(
            _NAME,
            "warning",
            f"{several(standing.open, 'row is', 'rows are')} not sealed and {older:,} under an "
            "older key: "
            "`migration seal` seals them.",
        )
    held = standing.by_key.get(names[0], 0)
    return Finding(_NAME, "ok", f"{several(held, 'row')} sealed with key {names[0]}")
