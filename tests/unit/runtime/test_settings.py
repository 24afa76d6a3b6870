"""Settings that have been renamed are taken under their old name for one release, with a warning."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ordertrail.runtime.settings import Settings, load_settings, variable_of


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ASK_PER_SECOND", "QUERY_PER_SECOND"):
        monkeypatch.delenv(f"ORDERTRAIL_{name}", raising=False)


def test_old_name_is_taken_and_the_new_one_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERTRAIL_ASK_PER_SECOND", "7")

    settings = load_settings()

    assert settings.query_per_second == 7
    assert "ORDERTRAIL_ASK_PER_SECOND is now ORDERTRAIL_QUERY_PER_SECOND" in capsys.readouterr().err


def test_old_name_in_the_file_is_taken_and_said_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_text("ORDERTRAIL_ASK_PER_SECOND=7\n")

    settings = load_settings()

    assert settings.query_per_second == 7
    assert "ORDERTRAIL_QUERY_PER_SECOND" in capsys.readouterr().err


def test_new_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERTRAIL_ASK_PER_SECOND", "7")
    monkeypatch.setenv("ORDERTRAIL_QUERY_PER_SECOND", "9")

    assert load_settings().query_per_second == 9


def test_nothing_is_said_where_only_new_names_are_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERTRAIL_QUERY_PER_SECOND", "9")

    load_settings()

    assert capsys.readouterr().err == ""


def test_invalid_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERTRAIL_QUERY_PER_SECOND", "-1")

    with pytest.raises(ValidationError) as caught:
        load_settings()

    assert [variable_of(str(item["loc"][0])) for item in caught.value.errors()] == ["ORDERTRAIL_QUERY_PER_SECOND"]


def test_every_setting_has_one_variable() -> None:
    assert variable_of("query_per_second") == "ORDERTRAIL_QUERY_PER_SECOND"
    assert len({variable_of(name) for name in Settings.model_fields}) == len(Settings.model_fields)
