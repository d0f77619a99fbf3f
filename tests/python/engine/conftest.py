"""An engine for suites: one a session, on scripted LMs."""

from collections.abc import Callable
from typing import Any

import pytest

from python_bridge.engine.load import boot

boot()

from python_bridge.engine.engine import DSPyEngine  # noqa: E402
from python_bridge.engine.interface import CallContext, CallOptions, CallResult  # noqa: E402
from python_bridge.settings import LmSettings, Settings  # noqa: E402

Call = Callable[..., Any]


@pytest.fixture
def settings() -> Settings:
    """Settings whose default LM is the embedded one."""
    return Settings(lms={"default": LmSettings(model="offline/extractive")})


@pytest.fixture
def make_engine(settings: Settings) -> Callable[..., DSPyEngine]:
    """Make engines with LMs of the test's own."""

    def make(lm: Any = None, **given: Any) -> DSPyEngine:
        lms = given.pop("lms", {}) | ({"default": lm} if lm is not None else {})
        return DSPyEngine(given.pop("settings", settings), lms=lms, **given)

    return make


@pytest.fixture
def call() -> Call:
    """Compile a program and call it once."""

    async def run(engine: DSPyEngine, program: Any, inputs: dict[str, Any], **given: Any) -> CallResult:
        program = {"format": 1, "kind": "predict", "signature": program} if isinstance(program, str) else program
        names = ("emit", "call_tool", "deadline", "tenant")
        context = CallContext("test", **{name: given.pop(name) for name in names if name in given})
        return await engine.compile({"format": 1, **program}).call(inputs, CallOptions(**given), context)

    return run
