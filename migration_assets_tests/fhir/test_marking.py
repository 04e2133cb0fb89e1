"""The marker: constant, beside the tags a mapping has, and never twice."""

from typing import Any

from migration_assets.fhir.marking import marked

MARKER = ("https://clinic.example/tags", "migrated")
TAG = {"system": MARKER[0], "code": MARKER[1]}


def test_the_marker_stands_beside_what_was_there_once_and_the_resource_given_is_left() -> None:
    other = {"system": "https://x.example", "code": "y"}
    given: dict[str, Any] = {"resourceType": "Patient", "meta": {"source": "s", "tag": [other]}}
    once = marked(given, MARKER)
    assert once["meta"] == {"source": "s", "tag": [other, TAG]}
    assert marked(once, MARKER) == once
    assert given["meta"]["tag"] == [other]
    assert marked({"resourceType": "Patient"}, MARKER)["meta"] == {"tag": [TAG]}
