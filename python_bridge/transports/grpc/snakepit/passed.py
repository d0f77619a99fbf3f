"""Operations that are tools as they are, with their own parameters."""

from dataclasses import MISSING, fields
from typing import Any

from python_bridge.protocol import operations as o
from python_bridge.services.sessions import params as p
from python_bridge.transports.grpc.snakepit.tools import COMMON, META, Parameter, Planned, Tool, taken

PASSED: dict[str, tuple[type[Any], str]] = {
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
    kind, description = PASSED.get(method, (None, "an operation of the worker; see its documentation"))
    own = tuple(_parameter(f) for f in fields(kind)) if kind is not None else ()
    extra = tuple(x for x in COMMON if x.name in ("tenant", "idempotency_key") and x.name not in {y.name for y in own})

    def plan(values: dict[str, Any]) -> Planned:
        names = tuple(name for name in META if name not in {parameter.name for parameter in own})
        return Planned(method, values, taken(values, names) if kind is not None else {})

    return Tool(method, description, (*own, *extra) if kind is not None else (), plan)


def _parameter(f: Any) -> Parameter:
    word = str(getattr(f.type, "__name__", f.type)).split("[")[0].split(" ")[0]
    required = f.default is MISSING and f.default_factory is MISSING
    return Parameter(f.name, _TYPES.get(word, "any"), f.name.replace("_", " "), required)


__all__ = ["PASSED", "passed_tool"]
