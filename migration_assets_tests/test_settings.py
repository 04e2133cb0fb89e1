"""Settings: a wrong one is one clear sentence, and never shows its value."""

import re
from pathlib import Path

import pytest

from migration_assets.errors import Permanent
from migration_assets.settings import Settings, read_environ, read_settings

ROOT = Path(__file__).parent.parent
NOT_FOR_HANDS = {"MIGRATION_DEMO_HOME"}


def _example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    return dict(pairs)


def test_every_setting_is_documented_in_the_example_with_its_description() -> None:
    text = (ROOT / ".env.example").read_text()
    for field in Settings.model_fields.values():
        if field.alias not in NOT_FOR_HANDS:
            assert f"# {field.description}" in text or str(field.description) in text, field.alias
            assert field.alias in _example()


def test_the_example_documents_no_setting_that_does_not_exist() -> None:
    ours = {name for name in _example() if not name.startswith("DAGSTER_")}
    assert ours <= {field.alias for field in Settings.model_fields.values()}


def test_the_example_as_it_stands_is_a_valid_env_file_that_rehearses(tmp_path: Path) -> None:
    settings = read_settings(ROOT / ".env.example")
    assert settings.medplum_base_url is None
    assert settings.source is None


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"MEDPLUM_BASE_URL": "https://x.example"}, "belong together"),
        ({"MEDPLUM_BASE_URL": "ftp://canary"}, "MEDPLUM_BASE_URL"),
        (
            {
                "MEDPLUM_BASE_URL": "http://canary.example",
                "MEDPLUM_CLIENT_ID": "canary",
                "MEDPLUM_CLIENT_SECRET": "canary",
            },
            "unencrypted",
        ),
        ({"MIGRATION_START": "canary"}, "MIGRATION_START"),
        ({"MIGRATION_PARTITIONS": "canary"}, "'monthly', 'weekly' or 'daily'"),
        ({"MIGRATION_DEADLINE_SECONDS": "0"}, "MIGRATION_DEADLINE_SECONDS"),
    ],
)
def test_a_wrong_or_contradictory_setting_is_one_sentence_without_its_value(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Permanent) as caught:
        read_settings()
    assert named in str(caught.value)
    assert "canary" not in str(caught.value)


def test_plain_http_to_this_machine_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDPLUM_BASE_URL", "http://127.0.0.1:8103")
    monkeypatch.setenv("MEDPLUM_CLIENT_ID", "id")
    monkeypatch.setenv("MEDPLUM_CLIENT_SECRET", "hunter2")
    settings = read_settings()
    assert settings.medplum_base_url == "http://127.0.0.1:8103/"
    assert "hunter2" not in repr(settings)


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("MIGRATION_START=2020-01-01\nLEGACY_KEY=from-file\nOTHER=x\n")
    monkeypatch.setenv("LEGACY_KEY", "from-environment")
    assert read_settings().start.year == 2020
    assert read_environ()["LEGACY_KEY"] == "from-environment"
    assert read_environ()["OTHER"] == "x"
