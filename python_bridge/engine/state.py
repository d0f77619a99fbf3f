"""Learned state of programs: demos, instructions, prefix and description of fields, by predictor."""

from collections.abc import Mapping
from typing import Any

from python_bridge.engine.inputs import MARKER
from python_bridge.errors import BridgeError

_MEMBERS = {"demos", "instructions", "fields"}
_FIELD_MEMBERS = {"prefix", "desc"}


def apply_state(module: Any, program: Mapping[str, Any]) -> None:
    """Put a program's `demos` and `state` into its predictors.

    Raises:
        BridgeError: `invalid_request` that names the member: an unknown predictor, field or key.
    """
    predictors = dict(module.named_predictors())
    if demos := program.get("demos"):
        if len(predictors) != 1:
            names = ", ".join(predictors)
            raise BridgeError(
                "invalid_request",
                f"this program has several predictors ({names}); give demos in `state.PREDICTOR.demos`",
            )
        predictor = next(iter(predictors.values()))
        predictor.demos = _demos(demos, predictor, "demos")
    for path, learned in (program.get("state") or {}).items():
        if path not in predictors:
            known = ", ".join(predictors)
            raise BridgeError("invalid_request", f"`state` names the predictor {path!r}; this program has {known}")
        _apply(predictors[path], learned, f"state.{path}")


def _apply(predictor: Any, learned: Any, path: str) -> None:
    _check_map(learned, _MEMBERS, path, "members")
    if (instructions := learned.get("instructions")) is not None:
        if not isinstance(instructions, str):
            raise BridgeError("invalid_request", f"`{path}.instructions` must be a text")
        predictor.signature = predictor.signature.with_instructions(instructions)
    for name, changes in (learned.get("fields") or {}).items():
        predictor.signature = _changed(predictor.signature, name, changes, f"{path}.fields.{name}")
    if "demos" in learned:
        predictor.demos = _demos(learned["demos"], predictor, f"{path}.demos")


def _changed(signature: Any, name: str, changes: Any, path: str) -> Any:
    if name not in signature.fields:
        raise BridgeError("invalid_request", f"`{path}`: the signature has no field `{name}`")
    if not isinstance(changes, Mapping) or set(changes) - _FIELD_MEMBERS:
        raise BridgeError("invalid_request", f"`{path}` takes {', '.join(sorted(_FIELD_MEMBERS))} only")
    given = {key: value for key, value in changes.items() if value is not None}
    if not all(isinstance(value, str) for value in given.values()):
        raise BridgeError("invalid_request", f"`{path}`: prefix and desc must be texts")
    return signature.with_updated_fields(name, **given)


def _demos(demos: Any, predictor: Any, path: str) -> list[dict[str, Any]]:
    if not isinstance(demos, list):
        raise BridgeError("invalid_request", f"`{path}` must be a list of maps")
    fields = set(predictor.signature.fields) | {"augmented"}
    for index, demo in enumerate(demos):
        _check_map(demo, fields, f"{path}.{index}", "fields")
        if MARKER in repr(demo):
            raise BridgeError("invalid_request", f"`{path}.{index}` holds the reserved text {MARKER}; take it out")
    return [dict(demo) for demo in demos]


def _check_map(value: Any, known: set[str], path: str, what: str) -> None:
    if not isinstance(value, Mapping):
        raise BridgeError("invalid_request", f"`{path}` must be a map, not {type(value).__name__}")
    if unknown := sorted(set(value) - known):
        names = ", ".join(sorted(known))
        raise BridgeError("invalid_request", f"`{path}` has `{unknown[0]}`, which it does not know ({what}: {names})")


def dump_state(module: Any) -> dict[str, Any]:
    """Return the state of every predictor, as `apply_state` takes it: no LM, no traces, no secrets."""
    from python_bridge.engine.outputs import to_plain

    return {
        name: {
            "instructions": predictor.signature.instructions,
            "fields": {
                field: {"prefix": info.json_schema_extra["prefix"], "desc": info.json_schema_extra["desc"]}
                for field, info in predictor.signature.fields.items()
            },
            "demos": [to_plain(dict(demo)) for demo in predictor.demos],
        }
        for name, predictor in module.named_predictors()
    }


__all__ = ["apply_state", "dump_state"]
