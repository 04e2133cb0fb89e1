"""Publishing flags: told once, found by identifier, and the truth even after somebody's edit."""

import json
from pathlib import Path

from migration_assets.adoption import Phase, read_adoption
from migration_assets.adoption.flags import FLAGS, flags, identifier_system
from migration_assets.switching.publishing import publish
from migration_assets_tests.reconciliation.clinic import Clinic

BEFORE = read_adoption('Patient = "read"')
AFTER = BEFORE.with_phase(["Patient"], Phase.WRITE)


def test_the_same_flags_again_write_nothing_and_others_write_one_version(
    on_each: Clinic, tmp_path: Path
) -> None:
    out, told = tmp_path / "flags.json", []
    for adoption in (BEFORE, BEFORE, AFTER, AFTER):
        kinds = flags(adoption, ["Patient"])
        told.append(publish(on_each.account, on_each.client, out, kinds, by="x"))
    events = [(each["file"]["event"], each["medplum"]["event"]) for each in told]
    assert events == [
        ("created", "created"), ("unchanged", "unchanged"),
        ("changed", "changed"), ("unchanged", "unchanged"),
    ]  # fmt: skip
    kept = on_each.account.switching.publications()
    assert [each.flags["types"]["Patient"]["write"] for each in kept] == ["medplum", "legacy"]
    (basic,) = on_each.client.search("Basic", {"identifier": f"{identifier_system()}|{FLAGS}"})
    assert json.loads(basic["extension"][0]["valueString"]) == json.loads(out.read_text())


def test_flags_that_somebody_edited_in_medplum_are_put_right(clinic: Clinic) -> None:
    """The phases are the truth: a front end must not be led astray by a slip in an editor."""
    publish(clinic.account, clinic.client, None, flags(BEFORE, ["Patient"]), by="x")
    (basic,) = clinic.client.search("Basic", {})
    edited = json.loads(json.dumps(basic))
    edited["extension"][0]["valueString"] = "{}"
    clinic.put(edited)
    told = publish(clinic.account, clinic.client, None, flags(BEFORE, ["Patient"]), by="x")
    assert told["medplum"]["event"] == "changed"
    (again,) = clinic.client.search("Basic", {})
    assert again["extension"] == basic["extension"]
