"""How ``fhir/r4_rules.json`` was made from FHIR's own R4 definitions.

Belongs here: the extraction, so that the file can be made again and be checked. Does not belong
here: using the rules (``fhir.structure``). The definitions are those Medplum validates with.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LARGEST = 300
"""Larger value sets (currencies, languages, media types) are open in practice: left out."""


class Definitions:
    """Profiles, value sets and code systems of one folder of FHIR definitions."""

    def __init__(self, folder: Path) -> None:
        self.profiles = _resources(folder, "profiles-types", "StructureDefinition")
        self.profiles |= _resources(folder, "profiles-resources", "StructureDefinition")
        self.value_sets: dict[str, Any] = {}
        self.code_systems: dict[str, Any] = {}
        for name in ("v2-tables", "v3-codesystems", "valuesets"):
            self.value_sets |= _resources(folder, name, "ValueSet")
            self.code_systems |= _resources(folder, name, "CodeSystem")

    def rules(self) -> dict[str, Any]:
        """The content of ``r4_rules.json``."""
        codes: dict[str, str] = {}
        concepts: dict[str, str] = {}
        targets: dict[str, list[str]] = {}
        used: dict[str, dict[str, list[str]]] = {}
        for path, element in self._elements():
            kinds = {each.get("code") for each in element.get("type", ())}
            if "Reference" in kinds:
                allowed = sorted(
                    profile.rsplit("/", 1)[1]
                    for each in element["type"]
                    if each.get("code") == "Reference"
                    for profile in each.get("targetProfile", ())
                )
                if allowed and "Resource" not in allowed:
                    targets[path] = allowed
            binding = element.get("binding", {})
            if binding.get("strength") != "required" or "valueSet" not in binding:
                continue
            url = binding["valueSet"].split("|")[0]
            expanded = self.expanded(url)
            if expanded is None or sum(map(len, expanded.values())) > LARGEST:
                continue
            name = url.rsplit("/", 1)[1]
            if kinds == {"code"}:
                codes[path] = name
                used[name] = expanded
            elif kinds == {"CodeableConcept"}:
                concepts[path] = name
                used[name] = expanded
        return {
            "codes": dict(sorted(codes.items())),
            "concepts": dict(sorted(concepts.items())),
            "targets": dict(sorted(targets.items())),
            "value_sets": {
                name: {system: sorted(each) for system, each in sorted(systems.items())}
                for name, systems in sorted(used.items())
            },
        }

    def expanded(self, url: str) -> dict[str, list[str]] | None:
        """Codes of a value set by system; None when it cannot be told from the definitions."""
        value_set = self.value_sets.get(url)
        if value_set is None or "exclude" in value_set.get("compose", {}):
            return None
        found: dict[str, list[str]] = {}
        for include in value_set.get("compose", {}).get("include", ()):
            part = self._included(include)
            if part is None:
                return None
            for system, codes in part.items():
                found[system] = [*found.get(system, ()), *codes]
        return found or None

    def _included(self, include: dict[str, Any]) -> dict[str, list[str]] | None:
        if "filter" in include:
            return None
        if "valueSet" in include:
            found: dict[str, list[str]] = {}
            for url in include["valueSet"]:
                part = self.expanded(url.split("|")[0])
                if part is None:
                    return None
                found |= part
            return found
        system = include["system"]
        if "concept" in include:
            return {system: [each["code"] for each in include["concept"]]}
        known = self.code_systems.get(system)
        if known is None or known.get("content") != "complete":
            return None
        return {system: list(_codes(known.get("concept", ())))}

    def _elements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for profile in self.profiles.values():
            if profile.get("derivation") == "constraint" or profile.get("abstract"):
                continue
            for element in profile.get("snapshot", {}).get("element", ()):
                yield element["path"], element


def _resources(folder: Path, name: str, kind: str) -> dict[str, Any]:
    bundle = json.loads((folder / f"{name}.json").read_bytes())
    return {
        each["resource"]["url"]: each["resource"]
        for each in bundle["entry"]
        if each["resource"]["resourceType"] == kind
    }


def _codes(concepts: Any) -> Iterator[str]:
    for each in concepts:
        yield each["code"]
        yield from _codes(each.get("concept", ()))
