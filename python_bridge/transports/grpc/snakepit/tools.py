"""Operations as tools: what each takes, and the request that it becomes."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.protocol import operations as o
from python_bridge.services.sessions import params as p


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


_META = ("session", "tenant", "idempotency_key", "traceparent")
_OPTIONS = ("lm", "adapter", "config")
_COMMON = (
    Parameter("lm", "string", "name of an LM of the worker"),
    Parameter("adapter", "string", "chat, json or xml"),
    Parameter("config", "map", "LM parameters of this call: temperature, max_tokens, n, …"),
    Parameter("session", "string", "id of the session that the call belongs to"),
    Parameter("tenant", "string", "whose session it is"),
    Parameter("idempotency_key", "string", "a repeated call with this key is not run again"),
    Parameter("traceparent", "string", "W3C trace context"),
)
_INPUTS = Parameter("inputs", "map", "the values of the input fields", required=True)


def _pop(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := values.pop(name, None)) is not None}


def _program_request(method: str, values: dict[str, Any], base: dict[str, Any]) -> Planned:
    meta, options = _pop(values, _META), _pop(values, _OPTIONS)
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
    return Tool(kind, description, (*own, *_COMMON), plan, streams=True)


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
    return Tool(name, description, (*own, *_COMMON), plan, streams=True)


def _registered(programs: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in programs:
        known = ", ".join(sorted(programs)) or "none"
        raise BridgeError("not_found", f"no program is registered as {name[:80]!r}; registered are: {known}")
    return programs[name]


def program_tool(name: str, program: dict[str, Any]) -> Tool:
    """Return a tool that runs one registered program; its parameters are the program's inputs."""
    inputs = _inputs_of(program)

    def plan(values: dict[str, Any]) -> Planned:
        taken = {parameter.name for parameter in inputs}
        given = {key: values.pop(key) for key in list(values) if key in taken}
        if not inputs:
            given = values.pop("inputs")
        return _program_request("call", values, {"program": program, "inputs": given})

    taken = {parameter.name for parameter in inputs}
    common = tuple(parameter for parameter in _COMMON if parameter.name not in taken)
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


_PASSED: dict[str, tuple[type[Any], str]] = {
    "echo": (o.EchoParams, "give a value back"),
    "worker/status": (o.Nothing, "load and memory of the worker"),
    "program.put": (o.ProgramParams, "keep a program in this worker; gives its handle"),
    "module.create": (o.ProgramParams, "the same as program.put"),
    "module.describe": (o.ModuleParams, "tell of a program that was put"),
    "module.drop": (o.ModuleParams, "forget a program that was put"),
    "session.open": (p.OpenParams, "open a session"),
    "session.attach": (p.SessionParams, "take a session over"),
    "session.describe": (p.SessionParams, "tell of a session"),
    "session.list": (p.ListParams, "list sessions"),
    "session.close": (p.SessionParams, "close a session"),
    "session.get": (p.GetParams, "variables of a session"),
    "session.put": (p.PutParams, "change a session"),
    "session.history": (p.HistoryParams, "what was said in a session"),
    "session.append": (p.AppendParams, "add to the history of a session"),
    "session.trim": (p.TrimParams, "shorten the history of a session"),
    "session.export": (p.SessionParams, "a session as a document"),
    "session.import": (p.ImportParams, "make a session of a document"),
    "session.touch": (p.SessionParams, "keep a session from expiring"),
}
_TYPES = {"str": "string", "int": "integer", "dict": "map", "list": "list", "bool": "boolean", "float": "number"}


def passed_tool(method: str) -> Tool:
    """Return a tool that is one operation of the worker with its own parameters."""
    kind, description = _PASSED.get(method, (None, "an operation of the worker; see its documentation"))
    own = tuple(_parameter(f) for f in fields(kind)) if kind is not None else ()
    extra = tuple(x for x in _COMMON if x.name in ("tenant", "idempotency_key") and x.name not in {y.name for y in own})

    def plan(values: dict[str, Any]) -> Planned:
        names = tuple(name for name in _META if name not in {parameter.name for parameter in own})
        return Planned(method, values, _pop(values, names) if kind is not None else {})

    return Tool(method, description, (*own, *extra) if kind is not None else (), plan)


def _parameter(f: Any) -> Parameter:
    word = str(getattr(f.type, "__name__", f.type)).split("[")[0].split(" ")[0]
    required = f.default is MISSING and f.default_factory is MISSING
    return Parameter(f.name, _TYPES.get(word, "any"), f.name.replace("_", " "), required)


def tools_of(programs: Mapping[str, dict[str, Any]]) -> dict[str, Tool]:
    """Return the tools that a worker has in any case, by name; registered programs never hide the others."""
    found = {name: program_tool(name, program) for name, program in programs.items()}
    own = [
        module_tool("predict", "answer by a signature"),
        module_tool("chain_of_thought", "reason, then answer by a signature"),
        call_tool("call", "run a program", programs),
        call_tool("stream", "run a program and give its events as they come", programs),
        *(passed_tool(method) for method in _PASSED),
    ]
    return {**found, **{tool.name: tool for tool in own}}


__all__ = ["Parameter", "Planned", "Tool", "check", "passed_tool", "tools_of"]
