"""Publishing feature flags: a JSON file, and one FHIR resource in Medplum, for front ends.

Belongs here: writing both, and the record of it. Does not belong here: what the flags are
(``adoption.flags``). The same flags again write nothing, anywhere.
"""

from pathlib import Path
from typing import Any

from migration_assets.adoption.flags import FLAGS, as_basic, as_json, identifier_system
from migration_assets.errors import Transient
from migration_assets.manifest import Manifest
from migration_assets.medplum import Deliverer, Fhir, Member, Submission, Verdict
from migration_assets.switching.changing import replace_file

_DEADLINE_SECONDS = 60.0


def publish(
    manifest: Manifest, fhir: Fhir | None, out: Path | None, flags: dict[str, Any], *, by: str
) -> dict[str, Any]:
    """Publish flags where there is a place; returns by place how that went.

    Raises:
        Transient: Medplum did not take them; a file is written by then.
        Permanent: the file cannot be written, or Medplum refuses.
    """
    written: dict[str, Any] = {}
    if out is not None:
        written["file"] = _into_file(out, as_json(flags) + "\n")
    if fhir is not None:
        written["medplum"] = _into_medplum(fhir, flags)
    events = [written[each]["event"] for each in written]
    if any(each != "unchanged" for each in events):
        manifest.switching.published(as_json(flags), written, by=by)
    return written


def _into_file(path: Path, text: str) -> dict[str, Any]:
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    if before != text:
        replace_file(path, text)
    event = "created" if before is None else "unchanged" if before == text else "changed"
    return {"event": event, "name": path.name}


def _into_medplum(fhir: Fhir, flags: dict[str, Any]) -> dict[str, Any]:
    member = Member("Basic", identifier_system(), FLAGS, as_basic(flags))
    deliverer = Deliverer(fhir, exclusive=False, deadline_seconds=_DEADLINE_SECONDS)
    for delivered in deliverer.deliver([Submission(0, (member,))]):
        for each in delivered:
            if each.verdict is Verdict.WRITTEN:
                answer = each.answers[-1]
                return {
                    "event": answer.event,
                    "reference": f"Basic/{answer.fhir_id}",
                    "version": answer.version_id,
                }
            raise Transient(
                f"Publishing the flags in Medplum failed ({each.reason or each.verdict.value}). "
                "Run `migration flags` again."
            )
    raise Transient("Publishing the flags in Medplum failed. Run `migration flags` again.")
