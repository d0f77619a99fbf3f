"""Kinds that let the LM's code run in a Deno sandbox: `program_of_thought`, `code_act`, `rlm`."""

import importlib.util
import shutil
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dspy
from dspy.primitives.python_interpreter import PythonInterpreter

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind, check_names
from python_bridge.engine.modules.options import read_options, whole
from python_bridge.errors import BridgeError

_THOUGHT_OPTIONS = {"max_iters": whole(3, 1, 100)}
_ACT_OPTIONS = {"max_iters": whole(5, 1, 1000)}
_RLM_OPTIONS = {
    "max_iters": whole(20, 1, 1000),
    "max_llm_calls": whole(50, 1, 100_000),
    "max_output_chars": whole(10_000, 100, 10_000_000),
}
_RESERVED = frozenset({"interpreter", "trajectory", "max_iters", "interpreter_factory"})
INSTALL = "pip install 'dspy[deno]'"


def has_deno() -> bool:
    """Whether a Deno executable is at hand."""
    return importlib.util.find_spec("deno") is not None or shutil.which("deno") is not None


def _need_deno(kind: str) -> None:
    if not has_deno():
        raise BridgeError(
            "unavailable",
            f"the kind {kind!r} runs code in a Deno sandbox, and there is no Deno on this machine; run: {INSTALL}",
            retryable=False,
        )


def _quietly(make: Callable[[], dspy.Module]) -> dspy.Module:
    with warnings.catch_warnings():
        # DSPy 3.4 deprecates two of the three kinds; that is said in the guide, not in every worker's log.
        warnings.simplefilter("ignore", DeprecationWarning)
        return make()


def build_program_of_thought(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.ProgramOfThought`."""
    options, params = read_options(program.get("config", {}), _THOUGHT_OPTIONS, "config")
    signature = builder.signature(program)
    check_names(signature, _RESERVED)
    _need_deno("program_of_thought")
    module = _quietly(lambda: dspy.ProgramOfThought(signature, max_iters=options["max_iters"]))
    return BuiltModule(signature, lambda: module, False, params, options)


def relay(**arguments):
    return TOOL(**arguments)  # type: ignore[name-defined]  # noqa: F821


def build_code_act(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.CodeAct`; the sandbox calls the client's tools by name.

    CodeAct takes plain functions and runs their source in the sandbox. It gets functions whose source is that of
    `relay`, which nobody calls there: the sandbox finds the tools under their names among its host functions.
    """
    options, params = read_options(program.get("config", {}), _ACT_OPTIONS, "config")
    signature = builder.signature(program)
    check_names(signature, _RESERVED)
    _need_deno("code_act")
    tools = builder.tools(program)
    functions = [_as_function(tool) for tool in tools]
    callables: dict[str, Any] = {str(tool.name): tool.func for tool in tools}
    factory = lambda: PythonInterpreter(tools=callables)  # noqa: E731
    module = _quietly(lambda: dspy.CodeAct(signature, functions, options["max_iters"], factory))  # type: ignore[arg-type]
    return BuiltModule(signature, lambda: module, False, params, options, list(program.get("tools", [])))


def _as_function(tool: dspy.Tool) -> dspy.Tool:
    function = types.FunctionType(relay.__code__, {"TOOL": tool.func}, str(tool.name))
    return dspy.Tool(function, name=tool.name, desc=tool.desc, args=tool.args, arg_types=tool.arg_types)


def build_rlm(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.RLM`."""
    options, params = read_options(program.get("config", {}), _RLM_OPTIONS, "config")
    signature = builder.signature(program)
    check_names(signature, _RESERVED)
    _need_deno("rlm")
    try:
        module = dspy.RLM(signature, tools=[_as_function(tool) for tool in builder.tools(program)], **options)
    except ValueError as error:
        raise BridgeError("invalid_request", f"this program is no RLM: {error}") from error
    return BuiltModule(signature, lambda: module, False, params, options, list(program.get("tools", [])))


PROGRAM_OF_THOUGHT = Kind(build_program_of_thought, _THOUGHT_OPTIONS)
CODE_ACT = Kind(build_code_act, _ACT_OPTIONS, frozenset({"signature", "tools"}))
RLM = Kind(build_rlm, _RLM_OPTIONS, frozenset({"signature", "tools"}))

__all__ = ["CODE_ACT", "INSTALL", "PROGRAM_OF_THOUGHT", "RLM", "has_deno"]
