"""What is set under our prefix is a setting, or it is said: renamed, unknown, of a later version, of a platform."""

import re
from pathlib import Path

import pytest

from ordertrail.runtime.errors import CannotStart
from ordertrail.runtime.settings import Settings, _is_known, _said, load_settings, variable_of

ROOT = Path(__file__).parents[3]
FILES = ("README.md", "CHANGELOG.md", "Makefile", "Dockerfile", "compose.yaml")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    _said.clear()
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

    with pytest.raises(CannotStart, match=r"^ORDERTRAIL_QUERY_PER_SECOND: .*\.$"):
        load_settings()


def test_every_setting_has_one_variable() -> None:
    assert variable_of("query_per_second") == "ORDERTRAIL_QUERY_PER_SECOND"
    assert len({variable_of(name) for name in Settings.model_fields}) == len(Settings.model_fields)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EXCHANGE_URI", "EXCHANGE_URL"),
        ("DATABASE", "DATABASE_URL"),
        ("RETRY_WINDOW", "RETRY_WINDOW_SECONDS"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
    ],
)
def test_misspelled_name_refuses_the_start_and_names_the_right_one(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(f"ORDERTRAIL_{name}", "postgresql://u:secret@h/d")

    with pytest.raises(CannotStart) as caught:
        load_settings()

    assert f"ORDERTRAIL_{name} is no setting: did you mean ORDERTRAIL_{meant}?" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_misspelled_name_in_the_file_refuses_the_start_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ordertrail_exchange_uri=http://real:9000\nPATH_OF_ANOTHER=1\n")

    with pytest.raises(
        CannotStart, match="ORDERTRAIL_EXCHANGE_URI is no setting: did you mean ORDERTRAIL_EXCHANGE_URL"
    ):
        load_settings()


def test_name_that_resembles_none_is_refused_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERTRAIL_ZZZZZZ", "1")
    monkeypatch.setenv("ORDERTRAIL_EXCHANGE_URI", "1")

    with pytest.raises(CannotStart) as caught:
        load_settings()

    assert "ORDERTRAIL_ZZZZZZ is no setting. `ordertrail settings` lists all." in str(caught.value)
    assert "did you mean ORDERTRAIL_EXCHANGE_URL?" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["TEST_ANYTHING", "STARTED_BY_UP_IN", "KILLS", "DATABASE_PORT"])
def test_marks_of_ours_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(f"ORDERTRAIL_{name}", "1")

    load_settings()

    assert capsys.readouterr().err == ""


def test_setting_of_a_later_version_is_taken_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERTRAIL_ALERT_SECRET", "hush")
    monkeypatch.setenv("ORDERTRAIL_OTLP_URL", "http://traces")

    load_settings()

    said = capsys.readouterr().err
    assert "ORDERTRAIL_ALERT_SECRET, ORDERTRAIL_OTLP_URL: known, but not used by this version." in said
    assert "hush" not in said


@pytest.mark.parametrize("service", ["", "API_", "EXCHANGE_"])
def test_what_a_container_platform_sets_for_a_service_is_said_and_harmless(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], service: str
) -> None:
    for name, value in {
        "SERVICE_HOST": "10.0.0.11",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.11:8000",
        "PORT_8000_TCP": "tcp://10.0.0.11:8000",
        "PORT_8000_TCP_PROTO": "tcp",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_ADDR": "10.0.0.11",
        "NAME": "/web/ordertrail",
    }.items():
        monkeypatch.setenv(f"ORDERTRAIL_{service}{name}", value)

    settings = load_settings()

    said = capsys.readouterr().err
    assert settings.port == 8000
    assert f"ORDERTRAIL_{service}NAME" in said and "and 7 more: set by the container platform" in said
    assert said.count("\n") == 1


def test_port_of_the_file_stands_where_the_platform_set_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("ORDERTRAIL_PORT=8001\n")
    monkeypatch.setenv("ORDERTRAIL_PORT", "tcp://10.0.0.11:8000")

    assert load_settings().port == 8001
    assert "ORDERTRAIL_PORT: set by the container platform" in capsys.readouterr().err


def test_nothing_is_said_by_a_process_whose_parent_said_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERTRAIL_ASK_PER_SECOND", "7")

    load_settings(quietly=True)

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("file", [b"ORDERTRAIL_PORT=\xff\xfe\n", None])
def test_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, file: bytes | None) -> None:
    if file is None:
        (tmp_path / ".env").mkdir()  # not read at all
    else:
        (tmp_path / ".env").write_bytes(file)
        with pytest.raises(CannotStart, match=r"^The file \.env cannot be read"):
            load_settings()
        return

    load_settings()


def test_every_variable_that_the_tree_names_is_known() -> None:
    named = {
        name
        for folder in ("ordertrail", "bench", "tests", "docs", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in {".py", ".md", ""} and "__pycache__" not in path.parts
        if path != Path(__file__)
        for name in re.findall(r"ORDERTRAIL_([A-Z][A-Z_]*[A-Z])\b", path.read_text())
    } | set(re.findall(r"ORDERTRAIL_([A-Z_]+[A-Z])\b", "".join((ROOT / n).read_text() for n in FILES)))

    assert {name for name in named - {"EXCHANGE_URI"} if not _is_known(name, "")} == set()
