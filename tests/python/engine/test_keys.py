"""Which key goes to which server."""

import pytest

from python_bridge.engine.lms.registry import key_of
from python_bridge.settings import LmSettings

pytestmark = pytest.mark.req("FR1.1.1")
OWN = "http://127.0.0.1:1/v1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "of the environment")


def test_openai_gets_the_key_of_the_environment_when_the_settings_name_none() -> None:
    assert key_of("default", LmSettings(model="openai/x")) == "of the environment"


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_so_does_the_server_that_the_environment_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, OWN)
    assert key_of("default", LmSettings(model="openai/x", api_base=OWN)) == "of the environment"
    assert key_of("default", LmSettings(model="openai/x")) is None


def test_other_servers_and_providers_get_no_key_that_is_not_meant_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_of("local", LmSettings(model="openai/x", api_base=OWN)) is None
    assert key_of("other", LmSettings(model="anthropic/x")) is None
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert key_of("default", LmSettings(model="openai/x")) is None


def test_the_variable_of_the_settings_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "mine")
    assert key_of("local", LmSettings(model="openai/x", api_base=OWN, api_key_env="MY_KEY")) == "mine"
