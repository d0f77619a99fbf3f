"""Operations as tools: what each takes, and the request that it becomes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from python_bridge.errors import BridgeError


@dataclass(frozen=True, slots=True)
class Planned:
    """A request for the worker."""

    method: str
    params: dict[str, Any]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a tool takes under one name; `type` is a word for people: ``"string"``, ``"map"``, …"""

    name: str
    type: str
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: its description, and how its parameters become a request."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    plan: Callable[[dict[str, Any]], Planned]
    streams: bool = False


META = ("session", "tenant", "idempotency_key", "traceparent")
_OPTIONS = ("lm", "adapter", "config")
COMMON = (
    Parameter("lm", "string", "name of an LM of the worker"),
    Parameter("adapter", "string", "chat, json or xml"),
    Parameter("config", "map", "LM parameters of this call: temperature, max_tokens, n, …"),
    Parameter("session", "string", "id of the session that the call belongs to"),
    Parameter("tenant", "string", "whose session it is"),
    Parameter("idempotency_key", "string", "a repeated call with this key is not run again"),
    Parameter("traceparent", "string", "W3C trace context"),
)
_INPUTS = Parameter("inputs", "map", "the values of the input fields", required=True)


def taken(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Take these names out of `values`, those that are not null."""
    return {name: value for name in names if (value := values.pop(name, None)) is not None}


def _program_request(method: str, values: dict[str, Any], base: dict[str, Any]) -> Planned:
    meta, options = taken(values, META), taken(values, _OPTIONS)
    return Planned(method, {**base, **({"options": options} if options else {})}, meta)


def check(tool: Tool, values: Mapping[str, Any]) -> None:
    """Check the names of parameters.

    Raises:
        BridgeError: `invalid_request` that names what is missing or unknown.
    """
    known = {parameter.name for parameter in tool.parameters}
    if tool.parameters and (unknown := sorted(values.keys() - known)):
        text = f"{tool.name} takes no {unknown[0][:80]!r}; it takes {', '.join(sorted(known))}"
        raise BridgeError("invalid_request", text)
    for parameter in tool.parameters:
        if parameter.required and parameter.name not in values:
            raise BridgeError("invalid_request", f"{tool.name} needs {parameter.name}: {parameter.description}")


def module_tool(kind: str, description: str) -> Tool:
    """Return a tool that makes a program of a signature and runs it."""

    def plan(values: dict[str, Any]) -> Planned:
        signature = values.pop("signature")
        if (instructions := values.pop("instructions", None)) is not None:
            given = signature if isinstance(signature, dict) else {"text": signature}
            signature = {**given, "instructions": instructions}
        program = {"format": 1, "kind": kind, "signature": signature}
        return _program_request("call", values, {"program": program, "inputs": values.pop("inputs")})

    own = (
        Parameter("signature", "string", "DSPy signature, as: question -> answer", required=True),
        _INPUTS,
        Parameter("instructions", "string", "what the program shall do"),
    )
    return Tool(kind, description, (*own, *COMMON), plan, streams=True)


def call_tool(name: str, description: str, programs: Mapping[str, dict[str, Any]]) -> Tool:
    """Return a tool that runs a program: a map, a registered name, or the handle of one that was put."""

    def plan(values: dict[str, Any]) -> Planned:
        inputs, module, program = values.pop("inputs"), values.pop("module", None), values.pop("program", None)
        if (module is None) == (program is None):
            raise BridgeError("invalid_request", f"{name} needs either program or module")
        if module is not None:
            return _program_request("module.call", values, {"module": module, "inputs": inputs})
        if isinstance(program, str):
            program = _registered(programs, program)
        return _program_request("call", values, {"program": program, "inputs": inputs})

    own = (
        Parameter("program", "map", "a program as data, or the name of a registered one"),
        Parameter("module", "string", "handle of a program that program.put gave"),
        _INPUTS,
    )
    return Tool(name, description, (*own, *COMMON), plan, streams=True)


def _registered(programs: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in programs:
        known = ", ".join(sorted(programs)) or "none"
        raise BridgeError("not_found", f"no program is registered as {name[:80]!r}; registered are: {known}")
    return programs[name]


def program_tool(name: str, program: dict[str, Any]) -> Tool:
    """Return a tool that runs one registered program; its parameters are the program's inputs."""
    inputs = _inputs_of(program)

    def plan(values: dict[str, Any]) -> Planned:
        fields = {parameter.name for parameter in inputs}
        given = {key: values.pop(key) for key in list(values) if key in fields}
        if not inputs:
            given = values.pop("inputs")
        return _program_request("call", values, {"program": program, "inputs": given})

    fields = {parameter.name for parameter in inputs}
    common = tuple(parameter for parameter in COMMON if parameter.name not in fields)
    kind = program.get("kind")
    return Tool(name, f"the registered program {name} ({kind})", (*(inputs or (_INPUTS,)), *common), plan, streams=True)


def _inputs_of(program: dict[str, Any]) -> tuple[Parameter, ...]:
    """Return the input fields that the program's data tells of; none when only the engine knows them."""
    signature = program.get("signature")
    if isinstance(signature, dict) and isinstance(signature.get("fields"), list):
        return tuple(
            Parameter(f["name"], str(f.get("type", "str")), str(f.get("desc") or "an input field"), required=True)
            for f in signature["fields"]
            if f.get("role") == "input"
        )
    text = signature.get("text") if isinstance(signature, dict) else signature
    if not isinstance(text, str):
        return ()
    from python_bridge.engine.signatures.parser import parse_signature

    try:
        return tuple(Parameter(f.name, "any", "an input field", required=True) for f in parse_signature(text).inputs)
    except BridgeError:
        return ()


def tools_of(programs: Mapping[str, dict[str, Any]]) -> dict[str, Tool]:
    """Return the tools that a worker has in any case, by name; registered programs never hide the others."""
    from python_bridge.transports.grpc.snakepit.passed import PASSED, passed_tool

    found = {name: program_tool(name, program) for name, program in programs.items()}
    own = [
        module_tool("predict", "answer by a signature"),
        module_tool("chain_of_thought", "reason, then answer by a signature"),
        call_tool("call", "run a program", programs),
        call_tool("stream", "run a program and give its events as they come", programs),
        *(passed_tool(method) for method in PASSED),
    ]
    return {**found, **{tool.name: tool for tool in own}}


__all__ = ["COMMON", "META", "Parameter", "Planned", "Tool", "check", "taken", "tools_of"]
