"""R4's rules: the file we ship is what FHIR's definitions say.

``pytest --update-golden`` writes it again, from the definitions that Medplum itself validates with.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from migration_assets.demo.medplum_sandbox import install_packages
from migration_assets.fhir import structure
from migration_assets_tests.fhir.r4_definitions import Definitions

_FILE = Path(structure.__file__).parent / "r4_rules.json"


def _written(rules: Mapping[str, Mapping[str, Any]]) -> str:
    """One rule a line, so that a change can be read."""
    parts = []
    for part, entries in rules.items():
        lines = (
            f" {json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}"
            for name, entry in entries.items()
        )
        parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


@pytest.mark.sandbox
def test_the_rules_are_those_of_the_definitions(request: pytest.FixtureRequest) -> None:
    packages = install_packages().parents[1] / "node_modules"
    folder = packages / "@medplum" / "definitions" / "dist" / "fhir" / "r4"
    text = _written(Definitions(folder).rules())
    if request.config.getoption("--update-golden"):
        _FILE.write_text(text, encoding="utf-8")
    assert _FILE.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("Patient.gender", "female"),
        ("Observation.status", "corrected"),
        ("Encounter.status", "triaged"),
        ("MedicationRequest.status", "on-hold"),
        ("DiagnosticReport.status", "appended"),
        ("ClinicalImpression.status", "completed"),
        ("Quantity.comparator", ">="),
        ("Timing.repeat.periodUnit", "wk"),
    ],
)
def test_required_codes_are_complete(path: str, code: str) -> None:
    """fhir.resources cuts the longer lists short with a plus sign."""
    rules = json.loads(_FILE.read_bytes())
    systems = rules["value_sets"][rules["codes"][path]]
    assert code in {each for codes in systems.values() for each in codes}
    assert "+" not in {each for codes in systems.values() for each in codes}
