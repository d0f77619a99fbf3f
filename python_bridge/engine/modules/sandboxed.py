"""Kinds that let the LM's code run in a Deno sandbox: `program_of_thought`, `code_act`, `rlm`."""

import inspect
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dspy

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind, check_names
from python_bridge.engine.modules.options import read_options, whole
from python_bridge.engine.sandbox import interpreter, need_deno
from python_bridge.errors import BridgeError

_THOUGHT_OPTIONS = {"max_iters": whole(3, 1, 100)}
_ACT_OPTIONS = {"max_iters": whole(5, 1, 1000)}
_RLM_OPTIONS = {
    "max_iters": whole(20, 1, 1000),
    "max_llm_calls": whole(50, 1, 100_000),
    "max_output_chars": whole(10_000, 100, 10_000_000),
}
_RESERVED = frozenset({"interpreter", "trajectory", "max_iters", "interpreter_factory"})


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
    need_deno("program_of_thought")
    module = _quietly(lambda: dspy.ProgramOfThought(signature, options["max_iters"], interpreter))
    return BuiltModule(signature, lambda: module, False, params, options)


def relay(**arguments):
    return TOOL(**{name: value for name, value in arguments.items() if value is not None})  # noqa: F821  # type: ignore


def build_code_act(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.CodeAct`; the sandbox calls the client's tools by name.

    CodeAct takes plain functions and runs their source in the sandbox. It gets functions whose source is that of
    `relay`, which nobody calls there: the sandbox finds the tools under their names among its host functions.
    """
    options, params = read_options(program.get("config", {}), _ACT_OPTIONS, "config")
    signature = builder.signature(program)
    check_names(signature, _RESERVED)
    need_deno("code_act")
    functions = _functions(program, builder)
    callables: dict[str, Any] = {str(tool.name): tool.func for tool in functions}
    factory = lambda: interpreter(callables)  # noqa: E731
    module = _quietly(lambda: dspy.CodeAct(signature, functions, options["max_iters"], factory))  # type: ignore[arg-type]
    return BuiltModule(signature, lambda: module, False, params, options, list(program.get("tools", [])))


def _as_function(tool: dspy.Tool, declared: Mapping[str, Any]) -> dspy.Tool:
    function: Any = types.FunctionType(relay.__code__, {"TOOL": tool.func}, str(tool.name))
    arguments: dict[str, Any] = tool.args or {}
    required = set((declared.get("schema") or {}).get("required", ()))
    # The sandbox learns from the signature what to pass; required arguments come first, as Python wants it.
    names = sorted(arguments, key=lambda name: name not in required)
    function.__signature__ = inspect.Signature([_parameter(name, name in required) for name in names])
    return dspy.Tool(function, name=tool.name, desc=tool.desc, args=arguments, arg_types=tool.arg_types)


def _parameter(name: str, required: bool) -> inspect.Parameter:
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _functions(program: Mapping[str, Any], builder: Builder) -> list[dspy.Tool]:
    declared = program.get("tools", [])
    return [_as_function(tool, item) for tool, item in zip(builder.tools(program), declared, strict=True)]


def build_rlm(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.RLM`."""
    options, params = read_options(program.get("config", {}), _RLM_OPTIONS, "config")
    signature = builder.signature(program)
    check_names(signature, _RESERVED)
    need_deno("rlm")
    try:
        module = dspy.RLM(
            signature,
            tools=_functions(program, builder),
            interpreter_factory=interpreter,
            **options,
        )
    except ValueError as error:
        raise BridgeError("invalid_request", f"this program is no RLM: {error}") from error
    return BuiltModule(signature, lambda: module, False, params, options, list(program.get("tools", [])))


PROGRAM_OF_THOUGHT = Kind(build_program_of_thought, _THOUGHT_OPTIONS)
CODE_ACT = Kind(build_code_act, _ACT_OPTIONS, frozenset({"signature", "tools"}))
RLM = Kind(build_rlm, _RLM_OPTIONS, frozenset({"signature", "tools"}))

__all__ = ["CODE_ACT", "PROGRAM_OF_THOUGHT", "RLM"]
