"""`custom`: modules that the server's settings allow to import."""

import inspect
from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind
from python_bridge.engine.modules.options import Option, read_options
from python_bridge.errors import BridgeError

_OPTIONS = {"args": Option({}, lambda value: isinstance(value, dict), "a map of arguments")}


def build_custom(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """What stands at `import`: a module class, a function that makes a module, or a module.

    Its signature is `signature`, else the module's own `signature`, else that of its only predictor.
    """
    options, params = read_options(program.get("config", {}), _OPTIONS, "config")
    path = program.get("import")
    if not path:
        raise BridgeError("invalid_request", "the kind 'custom' needs `import`")
    made = _make(builder.imported(path), options["args"], path)
    signature = builder.signature(program) if "signature" in program else _own_signature(made, path)
    asynchronous = inspect.iscoroutinefunction(getattr(made, "aforward", None))
    return BuiltModule(signature, lambda: made, asynchronous, params, options, own_code=True)


def _make(found: Any, arguments: Mapping[str, Any], path: str) -> dspy.Module:
    try:
        made = found if isinstance(found, dspy.Module) else found(**arguments)
    except Exception as error:
        raise BridgeError("program_error", f"{path} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(made, dspy.Module):
        raise BridgeError("invalid_request", f"{path} gives no dspy.Module, but {type(made).__name__}")
    return made


def _own_signature(module: Any, path: str) -> Any:
    own = getattr(module, "signature", None)
    if isinstance(own, type) and issubclass(own, dspy.Signature):
        return own
    predictors = module.predictors()
    if len(predictors) == 1:
        return predictors[0].signature
    raise BridgeError("invalid_request", f"{path} has {len(predictors)} predictors; say its `signature` in the program")


CUSTOM = Kind(build_custom, _OPTIONS, frozenset({"signature", "import"}))

__all__ = ["CUSTOM"]
