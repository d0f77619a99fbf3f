"""`config show` and `doctor`: what people see, and what scripts read."""

import json
import socket
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from python_bridge.cli.app import app
from python_bridge.cli.doctor import FAILURE, OK, WARNING, Check, examine, store_path
from python_bridge.cli.settings_table import descriptions, flag_of, settings_rows
from python_bridge.settings import EmbedderSettings, LmSettings, Settings, explain_settings
from scripts.operations_page import PAGE, with_tables

KEY = "an-ordinary-looking-key"
TOML = """
adapter = "json"
max_queue = 5
[lms.default]
model = "openai/a"
api_key_env = "A_KEY"
"""


def invoke(*arguments: str, **environ: str) -> Any:
    return CliRunner().invoke(app, [*arguments], env=environ)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.mark.req("FR2.1.3")
def test_config_show_tells_where_each_setting_comes_from(tmp_path: Path) -> None:
    config = tmp_path / "worker.toml"
    config.write_text(TOML)
    shown = invoke(
        "config", "show", "--json", "--config", str(config), "--max-in-flight", "7", DSPEX_MAX_QUEUE="6", A_KEY=KEY
    )
    assert shown.exit_code == 0
    rows = {row["name"]: (row["value"], row["source"]) for row in json.loads(shown.output)}
    assert rows["adapter"] == ("json", str(config))
    assert rows["max_queue"] == (6, "environment")
    assert rows["max_in_flight"] == (7, "command line")
    assert rows["drain_ms"] == (Settings().drain_ms, "default")
    assert rows["lms.default"] == ({"model": "openai/a", "api_key_env": "A_KEY"}, str(config))
    assert set(rows) == {*(f.name for f in fields(Settings) if f.name not in ("lms", "embedders")), "lms.default"}


def test_a_model_of_the_command_line_is_an_lm_from_there() -> None:
    _, sources = explain_settings({"lm": "openai/x"}, {"DSPEX_LM": "openai/y"})
    assert sources["lms.default"] == "command line"


@pytest.mark.req("NFR2.2.4")
def test_config_show_shows_no_secret() -> None:
    environ = {"DSPEX_TOKEN": "tok-en-value", "DSPEX_STORE": f"postgresql://user:{KEY}@host/db"}
    shown = invoke("config", "show", **environ)
    assert shown.exit_code == 0
    assert "tok-en-value" not in shown.output
    assert KEY not in shown.output
    assert "postgresql://user:[redacted]@host/db" in shown.output
    rows = {row.name: row.value for row in settings_rows({}, environ)}
    assert rows["token"] == "[redacted]"


def test_a_wrong_setting_ends_both_with_status_2_and_a_message() -> None:
    for command in (["config", "show"], ["doctor"]):
        refused = invoke(*command, DSPEX_MAX_QUEUE="many")
        assert refused.exit_code == 2
        assert "max_queue (environment) must be a whole number" in refused.output


def test_each_setting_has_words_and_a_flag_unless_it_is_a_secret() -> None:
    names = {f.name for f in fields(Settings)}
    assert set(descriptions()) == names
    assert {name for name in names if flag_of(name) is None} == {"lms", "embedders", "token"}


def test_the_guide_on_operations_holds_the_tables_of_the_code() -> None:
    page = PAGE.read_text("utf-8")
    assert with_tables(page) == page, "run: .venv/bin/python -m scripts.operations_page"


@pytest.mark.req("FR2.1.4", "NFR2.2.2")
def test_a_fit_machine_has_no_failure(tmp_path: Path) -> None:
    lms = {"default": LmSettings("offline/extractive")}
    checks = examine(Settings(lms=lms, store=f"sqlite:///{tmp_path}/x.db"))
    assert [check for check in checks if check.status == FAILURE] == []
    found = by_name(checks)
    assert {"python", "dspy", "uvloop", "orjson", "msgpack", "pyarrow", "deno", "elixir", "store"} <= set(found)
    assert {"disk", "/dev/shm", "open files", "lm default"} <= set(found)
    assert all(bool(check.fix) is (check.status != OK) for check in checks)
    assert not (tmp_path / "x.db").exists()


@pytest.mark.req("NFR2.2.2")
def test_what_fails_is_told_with_its_fix_and_ends_doctor_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    flags = ["--store", f"sqlite:///{tmp_path}/file/x.db"]
    told = invoke("doctor", *flags)
    assert told.exit_code == 1
    assert "FAILURE" in told.output
    assert "→ make" in told.output
    listed = invoke("doctor", "--json", *flags)
    assert listed.exit_code == 1
    (store,) = [check for check in json.loads(listed.output) if check["name"] == "store"]
    assert store["status"] == FAILURE
    assert store["fix"]


def test_a_key_that_is_not_set_is_a_failure_that_names_its_variable() -> None:
    settings = Settings(lms={"default": LmSettings("openai/x", api_key_env="DSPEX_TEST_NO_SUCH_KEY")})
    check = by_name(examine(settings))["lm default"]
    assert check.status == FAILURE
    assert "DSPEX_TEST_NO_SUCH_KEY" in check.fix


def test_openai_without_any_key_is_a_warning_that_says_where_keys_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = Settings(lms={"default": LmSettings("openai/x")}, embedders={"e": EmbedderSettings("openai/y")})
    found = by_name(examine(settings))
    assert (found["lm default"].status, found["embedder e"].status) == (WARNING, WARNING)
    assert "OPENAI_API_KEY" in found["lm default"].fix
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = by_name(examine(settings))
    assert (found["lm default"].status, found["embedder e"].status) == (OK, WARNING)


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of this machine where somebody listens: the system itself takes what waits to be accepted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_servers_that_are_needed_are_looked_for(listener: int) -> None:
    lms = {"default": LmSettings("openai/x", api_base=f"http://127.0.0.1:{listener}/v1")}
    found = by_name(examine(Settings(lms=lms, store=f"postgresql://u:{KEY}@127.0.0.1:{listener}/d")))
    assert (found["lm default"].status, found["store"].status) == (OK, OK)
    assert KEY not in repr(found)


def test_servers_that_do_not_answer_are_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    lms = {"default": LmSettings("openai/x", api_base=f"http://127.0.0.1:{port}/v1")}
    found = by_name(examine(Settings(lms=lms, store=f"postgresql://127.0.0.1:{port}/d")))
    assert (found["lm default"].status, found["store"].status) == (WARNING, FAILURE)
    for url in ("http://[", "http:///x"):
        odd = by_name(examine(Settings(lms={"default": LmSettings("openai/x", api_base=url)})))
        assert odd["lm default"].status in (WARNING, FAILURE)


def test_the_default_store_lies_under_the_state_folder() -> None:
    assert store_path(Settings(instance="one")).name == "one.db"
    assert by_name(examine(Settings(store="mysql://x/y")))["store"].status == FAILURE
