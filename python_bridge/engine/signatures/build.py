"""Signature specs → `dspy.Signature` classes. DSPy gets classes, never text."""

import copy
import warnings
from functools import partial
from typing import Any

import dspy
from pydantic.fields import FieldInfo

from python_bridge.engine.rich import check_media
from python_bridge.engine.signatures.errors import syntax_error
from python_bridge.engine.signatures.spec import FieldSpec, SignatureSpec
from python_bridge.errors import BridgeError

_UNTYPED = "IS_TYPE_UNDEFINED"


def build_signature(spec: SignatureSpec) -> type[dspy.Signature]:
    """Make the class.

    Raises:
        BridgeError: `signature_error` when DSPy or pydantic refuses a field or its type; `unavailable` for a type that
            is not safe in the installed version of dspy.
    """
    for item in spec.fields:
        check_media(item.name, item.annotation)
    fields = {item.name: (item.annotation, _field_info(item)) for item in spec.fields}
    instructions = _default_instructions(spec) if spec.instructions is None else spec.instructions
    try:
        built = _make(fields, instructions, spec.name)
        _check(built, spec)
    except Exception as error:
        raise _refusal(spec, instructions, error) from error
    return built


def _make(fields: dict[str, tuple[Any, FieldInfo]], instructions: str, name: str) -> type[dspy.Signature]:
    with warnings.catch_warnings():
        # A field may be called `schema` or `copy`; the attribute it shadows is not used.
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
        return dspy.Signature(fields, instructions, signature_name=name)  # type: ignore[call-arg, return-value]


def _check(built: Any, spec: SignatureSpec) -> None:
    """Some names (`fields`, `model_config`) break the class without an error: see that all fields are there."""
    inputs = [item.name for item in spec.fields if item.role == "input"]
    outputs = [item.name for item in spec.fields if item.role == "output"]
    if [*built.input_fields] != inputs or [*built.output_fields] != outputs:
        raise ValueError("a field was lost")
    if not isinstance(built.instructions, str):
        raise ValueError("the instructions were lost")


def _field_info(item: FieldSpec) -> FieldInfo:
    make = dspy.InputField if item.role == "input" else dspy.OutputField
    options: dict[str, Any] = dict(item.constraints)
    if item.role == "input":
        options[_UNTYPED] = not item.typed
    if item.desc is not None:
        options["desc"] = item.desc
    # DSPy asks a factory for outputs alone; each answer has a value of its own.
    if item.role == "output" and isinstance(item.default, list | dict | set):
        options["default_factory"] = partial(copy.deepcopy, item.default)
    elif item.default is not ...:
        options["default"] = item.default
    info = make(**options)
    if item.prefix is not None:
        info.json_schema_extra["prefix"] = item.prefix  # type: ignore[index]
    return info


def _default_instructions(spec: SignatureSpec) -> str:
    inputs = ", ".join(f"`{item.name}`" for item in spec.fields if item.role == "input")
    outputs = ", ".join(f"`{item.name}`" for item in spec.fields if item.role == "output")
    return f"Given the fields {inputs}, produce the fields {outputs}."


def _refusal(spec: SignatureSpec, instructions: str, error: Exception) -> BridgeError:
    item = _culprit(spec, instructions)
    reason = str(error).partition("\n")[0]
    message = f"the field `{item.name}` cannot be used: {reason}" if item else f"DSPy refuses this signature: {reason}"
    suggestion = "Give the field another name or another type."
    if spec.text is not None:
        start, end = (item.place if item else None) or (0, len(spec.text))
        return syntax_error(spec.text, start, end, message, suggestion)
    return BridgeError("signature_error", f"{message}. {suggestion}", details={"field": item.name if item else None})


def _culprit(spec: SignatureSpec, instructions: str) -> FieldSpec | None:
    """Return the first field that cannot be built alone."""
    for item in spec.fields:
        try:
            alone = _make({item.name: (item.annotation, _field_info(item))}, instructions, spec.name)
            _check(alone, SignatureSpec((item,)))
        except Exception:
            return item
    return None


__all__ = ["build_signature"]
