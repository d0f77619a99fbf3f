"""Which inputs a module instance takes: from its signature, else from its `forward`."""

import inspect
import typing
from collections.abc import Mapping
from typing import Any

import dspy
from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError

from python_bridge.engine.inputs import InputChecker, Problem, refusal
from python_bridge.engine.modules.base import RESERVED_INPUTS

_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def signature_of(module: Any) -> Any:
    """Return the signature class of a module that has one of its own, else ``None``."""
    own = getattr(module, "signature", None)
    if isinstance(own, type) and issubclass(own, dspy.Signature):
        return own
    inner = getattr(module, "module", None)  # BestOfN, Refine
    if isinstance(inner, dspy.Module):
        return signature_of(inner)
    predict = getattr(module, "predict", None)  # ChainOfThought
    if isinstance(predict, dspy.Predict) and len(module.predictors()) == 1:
        return predict.signature
    return None


class ForwardChecker:
    """Checks inputs against the parameters of `forward`: for programs of several signatures.

    With `**kwargs` alone, it wants what its predictors take and none of them makes.
    """

    def __init__(self, module: Any) -> None:
        parameters = _parameters(module)
        named = [item for item in parameters.values() if item.kind not in _VARIADIC]
        hints = _hints(module)
        self.required = tuple(item.name for item in named if item.default is inspect.Parameter.empty)
        self._names = {item.name for item in named}
        self._open = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
        self._adapters = {name: made for name, hint in hints.items() if (made := _adapter(hint)) is not None}
        if self._open and not named:
            self.required = _free_inputs(module)

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return converted inputs; see `InputChecker.check`."""
        problems: list[Problem] = [
            {"path": name, "message": "is missing"} for name in self.required if name not in inputs
        ]
        values: dict[str, Any] = {}
        for name, value in inputs.items():
            if name not in self._names and (not self._open or name in RESERVED_INPUTS):
                known = ", ".join(sorted(self._names)) or "none"
                problems.append({"path": name, "message": f"is not an input of this program (its inputs: {known})"})
            else:
                values[name] = InputChecker.convert(name, value, self._adapters.get(name), problems)
        if problems:
            raise refusal(problems)
        return values


def _entry(module: Any) -> Any:
    kind = type(module)
    return getattr(kind, "forward", None) or getattr(kind, "aforward", None)


def _parameters(module: Any) -> dict[str, inspect.Parameter]:
    entry = _entry(module)
    if entry is None:
        return {}
    return dict(list(inspect.signature(entry).parameters.items())[1:])


def _hints(module: Any) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(_entry(module), include_extras=True)
    except Exception:  # annotations of any make; without them values stay as they are
        return {}
    return {name: hint for name, hint in hints.items() if name != "return"}


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    if hint is Any:
        return None
    try:
        return TypeAdapter(hint)
    except (PydanticSchemaGenerationError, TypeError, NameError):
        return None


def _free_inputs(module: Any) -> tuple[str, ...]:
    predictors = module.predictors()
    made = {name for predictor in predictors for name in predictor.signature.output_fields}
    wanted = [name for predictor in predictors for name in predictor.signature.input_fields if name not in made]
    return tuple(dict.fromkeys(wanted))


__all__ = ["ForwardChecker", "signature_of"]
