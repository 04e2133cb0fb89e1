"""``migration describe`` as a person runs it: a draft, or a sentence; no file is ever run over."""

from pathlib import Path

import orjson

from migration_assets.legacy import load_description
from migration_assets_tests.cli.command import migration
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply
from migration_assets_tests.legacy.openapi_documents import like_drf, ten_regular_streams


def _document(folder: Path) -> str:
    (folder / "openapi.yaml").write_bytes(like_drf("https://care.example.org"))
    return "openapi.yaml"


def test_a_file_becomes_a_draft_that_loads_and_says_what_it_needs(tmp_path: Path) -> None:
    ran = migration("describe", "--openapi", _document(tmp_path), folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert load_description(ran.stdout).name == "care-api"
    assert "2 streams drafted; 4 lines to decide" in ran.stderr
    assert "CARE_API_AUTHORIZATION" in ran.stderr


def test_a_url_becomes_a_draft(tmp_path: Path) -> None:
    with LegacyServer() as server:
        body = orjson.dumps(ten_regular_streams(server.url))
        server.answers("/openapi.json", Reply(body))
        ran = migration(
            "describe", "--openapi", f"{server.url}/openapi.json", "--name", "mine",
            "--only", "notes", "--only", "patients", folder=tmp_path,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    source = load_description(ran.stdout)
    assert source.name == "mine"
    assert [one.name for one in source.streams] == ["patients", "notes"]


def test_a_description_that_somebody_completed_is_not_run_over(tmp_path: Path) -> None:
    mine = tmp_path / "clinic.yaml"
    mine.write_text("mine")
    asked = ("describe", "--openapi", _document(tmp_path), "--out", "clinic.yaml")
    ran = migration(*asked, folder=tmp_path)
    assert ran.returncode == 2
    assert "clinic.yaml exists and is left alone" in ran.stderr
    assert mine.read_text() == "mine"
    ran = migration(*asked, "--force", folder=tmp_path)
    assert ran.returncode == 0
    assert ran.stdout == ""
    assert load_description(mine).name == "care-api"
    assert "MIGRATION_SOURCE=clinic.yaml" in ran.stderr


def test_what_cannot_be_drafted_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>canary</html>")
    for openapi, says in (
        ("page.html", "no OpenAPI 3 or Swagger 2.0 document"),
        ("gone.yaml", "No such file"),
        ("http://10.0.0.5/openapi.json", "plain http"),
        (".", "Is a directory"),
    ):
        ran = migration("describe", "--openapi", openapi, folder=tmp_path)
        assert ran.returncode == 2
        assert says in ran.stderr
        assert "Traceback" not in ran.stderr
        assert "canary" not in ran.stderr
    ran = migration(
        "describe", "--openapi", _document(tmp_path), "--out", "no/where.yaml", folder=tmp_path
    )
    assert ran.returncode == 2
    assert "cannot be written: No such file or directory" in ran.stderr
