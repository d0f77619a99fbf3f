"""Settings: flags over environment over file over defaults, and errors that name the place."""

import os
import typing
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from python_bridge import __version__
from python_bridge.cli.app import app
from python_bridge.cli.worker_flags import VALUE_FLAGS, parse_flags, settings_from
from python_bridge.engine.lms.registry import key_of
from python_bridge.settings import LmSettings, Settings, SettingsError, apply_settings, load_settings
from python_bridge.transports.http.settings import load_http_settings

TOML = """
adapter = "json"
max_queue = 5
allowed_imports = ["my.module:Class"]
[lms.default]
model = "openai/a"
api_key_env = "A_KEY"
temperature = 0
[lms.big]
model = "openai/b"
retries = 5
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "worker.toml"
    path.write_text(TOML)
    return path


def test_flags_win_over_environment_over_file_over_defaults(config: Path) -> None:
    environ = {"DSPEX_MAX_QUEUE": "6", "DSPEX_MAX_IN_FLIGHT": "7", "DSPEX_CONFIG": str(config)}
    settings = load_settings({"max_in_flight": 8, "adapter": None}, environ)
    assert (settings.adapter, settings.max_queue, settings.max_in_flight) == ("json", 6, 8)
    assert settings.allowed_imports == ("my.module:Class",)
    assert settings.lms["default"] == LmSettings("openai/a", api_key_env="A_KEY", temperature=0.0)
    assert settings.lms["big"].retries == 5
    assert settings.drain_ms == Settings().drain_ms


def test_one_lm_can_be_given_by_model_and_base_alone() -> None:
    environ = {"DSPEX_LM": "openai/x", "OPENAI_API_BASE": "http://one"}
    assert load_settings({}, environ).lms == {"default": LmSettings("openai/x", api_base="http://one")}
    settings = load_settings({"lm": "openai/y", "lm_api_base": "http://two"}, environ)
    assert settings.lms == {"default": LmSettings("openai/y", api_base="http://two")}


@pytest.mark.req("FR1.1.1")
def test_an_lm_of_the_command_line_stays_on_the_server_of_the_environment_with_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://mine/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "the key of mine")
    lm = load_settings({"lm": "openai/y"}).lms["default"]
    assert lm.api_base == "http://mine/v1"
    assert key_of("default", lm) == "the key of mine"
    other = load_settings({"lm": "openai/y", "lm_api_base": "http://other/v1"}).lms["default"]
    assert other.api_base == "http://other/v1"
    assert key_of("default", other) is None


@pytest.mark.parametrize("model", ["anthropic/x", "offline/extractive"])
def test_the_server_of_the_environment_is_for_openai_s_models_alone(model: str) -> None:
    base = {"OPENAI_BASE_URL": "http://mine/v1"}
    assert load_settings({"lm": model}, base).lms["default"].api_base is None
    assert load_settings({}, {"DSPEX_LM": model, **base}).lms["default"].api_base is None


def test_the_first_of_the_base_variables_wins() -> None:
    environ = {"DSPEX_LM": "openai/x", "OPENAI_API_BASE": "http://old", "OPENAI_BASE_URL": "http://new"}
    assert load_settings({}, environ).lms["default"].api_base == "http://new"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"colour": 1}, "colour (here) is no setting"),
        ({"max_queue": -1}, "max_queue (here) must be at least 0"),
        ({"max_in_flight": 0}, "max_in_flight (here) must be at least 1"),
        ({"max_queue": "x"}, "max_queue (here) must be a whole number"),
        ({"max_queue": True}, "must be a whole number"),
        ({"debug": "perhaps"}, "debug (here) must be true or false"),
        ({"adapter": "yaml"}, "adapter (here) must be one of chat, json, xml"),
        ({"engine": "x"}, "engine (here) must be one of dspy, scripted"),
        ({"listen": "ftp://x"}, "listen (here) must be stdio"),
        ({"max_frame_bytes": 2**29}, "below"),
        ({"allowed_imports": [1]}, "list of names"),
        ({"lms": 5}, "must be tables"),
        ({"lms": {"a": {}}}, "lms.a (here) needs a model"),
        ({"lms": {"a": {"model": "x", "heat": 1}}}, "lms.a.heat (here) is no setting of an LM"),
        ({"lms": {"a": {"model": "x", "timeout": "soon"}}}, "lms.a.timeout (here) must be a number"),
    ],
)
def test_wrong_settings_name_their_place(values: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        apply_settings(Settings(), values, "here")
    assert text in str(caught.value)


@pytest.mark.req("NFR4.1.1")
@pytest.mark.parametrize("name", ["api_key", "key", "api_key_env"])
def test_a_key_in_the_file_is_pointed_to_the_environment_and_not_repeated(tmp_path: Path, name: str) -> None:
    file = tmp_path / "dspex.toml"
    file.write_text(f'[lms.default]\nmodel = "openai/a"\n{name} = "sk-very-secret"\n')
    with pytest.raises(SettingsError, match=r'api_key_env = "OPENAI_API_KEY"') as caught:
        load_settings({}, {}, file)
    assert "secret" not in str(caught.value)


def test_text_is_read_as_what_the_setting_is() -> None:
    settings = apply_settings(Settings(), {"debug": "yes", "max_queue": "3", "allowed_imports": "a:B, c:D"}, "here")
    assert (settings.debug, settings.max_queue, settings.allowed_imports) == (True, 3, ("a:B", "c:D"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("a = [")
    for path in (broken, tmp_path / "none.toml"):
        with pytest.raises(SettingsError, match=path.name):
            load_settings({}, {}, path)


def test_the_token_is_not_shown() -> None:
    assert "sk-1" not in repr(Settings(token="sk-1"))


@pytest.mark.req("NFR4.1.1")
def test_a_token_that_no_client_could_send_is_refused_at_the_start() -> None:
    broken = os.fsdecode(b"a token \xff\xfe")
    with pytest.raises(SettingsError, match=r"token \(environment\) must be UTF-8") as caught:
        load_settings({}, {"DSPEX_TOKEN": broken})
    assert "a token" not in str(caught.value)
    with pytest.raises(SettingsError, match="SECRET_KEY must be UTF-8"):
        load_http_settings({}, {"SECRET_KEY": broken})
    assert load_settings({}, {"DSPEX_TOKEN": "schlüssel"}).token == "schlüssel"


def test_flags_are_read_in_both_forms(config: Path) -> None:
    assert parse_flags(["--lm", "a/b", "--debug", "--max-queue=3", "--allow-import", "a:B", "--allow-import=c:D"]) == (
        {"lm": "a/b", "debug": True, "max_queue": "3", "allowed_imports": ["a:B", "c:D"]},
        None,
    )
    assert settings_from(["--config", str(config)]).adapter == "json"


def test_help_shows_every_flag_that_the_short_way_reads() -> None:
    command: Any = get_command(app)
    shown = {option for parameter in command.commands["worker"].params for option in parameter.opts}
    assert shown - {"--help"} == {*VALUE_FLAGS, "--config", "--debug"}
    assert set(VALUE_FLAGS.values()) - {"lm", "lm_api_base"} <= set(typing.get_type_hints(Settings))


def test_the_command_line_prints_help_and_version() -> None:
    runner = CliRunner()
    assert "worker" in runner.invoke(app, ["--help"]).output
    assert "--lm-api-base" in runner.invoke(app, ["worker", "--help"], terminal_width=200).output
    for command in (["worker"], ["serve"], ["run"], ["batch"], ["lm", "list"]):
        assert "[lms.NAME]" in runner.invoke(app, [*command, "--help"], terminal_width=200).output  # no mark-up
    assert runner.invoke(app, ["--version"]).output == runner.invoke(app, ["version"]).output == f"{__version__}\n"
