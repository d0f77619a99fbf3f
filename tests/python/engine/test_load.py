"""Loading dspy: set up for a long life, or said clearly why not."""

import os
import subprocess
import sys
from typing import Any

import dspy
import pytest

from python_bridge.engine.load import boot, check_installed, check_version, load_engine, preload
from python_bridge.errors import BridgeError
from python_bridge.settings import Settings


@pytest.mark.req("NFR5.1.4")
@pytest.mark.parametrize("version", ["2.6.27", "3.0.4", "3.1.3"])
def test_a_dspy_that_is_too_old_is_refused_with_the_line_to_run(version: str) -> None:
    with pytest.raises(BridgeError, match="pip install") as caught:
        check_version(version)
    assert caught.value.kind == "unavailable"
    assert version in caught.value.message


@pytest.mark.parametrize("version", ["3.2.1", "3.3.1", "3.4.1", "3.10.0", "4.0", "3.5.0rc1"])
def test_newer_versions_are_taken(version: str) -> None:
    check_version(version)


@pytest.mark.req("NFR5.1.4")
def test_the_engine_says_its_version_and_what_it_can_do() -> None:
    engine = load_engine(Settings())
    assert engine.dspy_version == dspy.__version__
    assert {"stream", "tools", "kind:predict", "kind:react", "kind:chain", "adapter:xml"} <= set(engine.features)


def test_dspy_keeps_nothing_between_calls() -> None:
    boot()
    assert (dspy.settings.trace, dspy.settings.disable_history) == (None, True)
    assert not dspy.cache.enable_disk_cache
    assert not dspy.cache.enable_memory_cache


@pytest.mark.parametrize("load", [check_installed, preload])
def test_prices_of_models_are_not_fetched_from_the_network(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    load()
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "true"


def test_a_missing_dspy_is_said_with_the_line_to_run() -> None:
    code = (
        "import sys; sys.modules['dspy'] = None\n"
        "from python_bridge.engine.load import load_engine\n"
        "from python_bridge.settings import Settings\n"
        "try:\n    load_engine(Settings())\n"
        "except Exception as error:\n    print(error.kind, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unavailable dspy is not installed")
    assert "pip install 'dspy>=3.2.1,<4'" in done.stdout


@pytest.mark.req("OWN-8")
def test_neither_the_interface_nor_the_loader_imports_dspy() -> None:
    code = "import sys, python_bridge.engine.interface, python_bridge.engine.load; print('dspy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
