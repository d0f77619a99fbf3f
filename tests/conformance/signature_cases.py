"""The contract of `tests/vectors/corpora/signatures.json`, case by case."""

from functools import cache
from typing import Any

from corpus_types import load_types

from python_bridge.engine.signatures.build import build_signature
from python_bridge.engine.signatures.describe import describe_fields
from python_bridge.engine.signatures.spec import spec_from_text
from python_bridge.errors import BridgeError

_COMPARED = (("name", "name"), ("tree", "type"), ("prefix", "prefix"), ("desc", "desc"), ("required", "required"))


@cache
def _types(key: str) -> dict[str, type]:
    import json

    return load_types(json.loads(key))


def _registered(case: dict[str, Any], types: dict[str, Any]) -> dict[str, type]:
    import json

    wanted = case.get("custom_types") or {}
    names = {name: name for name in wanted} if isinstance(wanted, list) else wanted
    built = _types(json.dumps(types))
    return {name: built[source] for name, source in names.items()}


def check_signature(case: dict[str, Any], types: dict[str, Any]) -> str | None:
    """Return what is wrong with one case, or ``None``."""
    try:
        spec = spec_from_text(case["signature"], case.get("instructions"), _registered(case, types))
        built = build_signature(spec)
    except BridgeError as error:
        return _check_error(case, error)
    if case["contract"] != "same":
        return f"was accepted, contract {case['contract']}"
    return _compare(case["result"], built)


def _check_error(case: dict[str, Any], error: BridgeError) -> str | None:
    if case["contract"] == "same":
        return f"was refused: {error.message}"
    if error.kind != "signature_error" or "^" not in error.message or not error.details.get("suggestion"):
        return f"not a signature_error with a caret and a suggestion: {error.kind} {error.message}"
    return None


def _compare(expected: dict[str, Any], built: Any) -> str | None:
    if built.instructions != expected["instructions"]:
        return f"instructions {built.instructions!r}, expected {expected['instructions']!r}"
    described = [{**field, "role": role} for role in ("input", "output") for field in describe_fields(built, role)]
    if [(field["name"], field["role"]) for field in described] != [
        (field["name"], field["role"]) for field in expected["fields"]
    ]:
        return f"fields {[field['name'] for field in described]}"
    for ours, theirs in zip(described, expected["fields"], strict=True):
        for our_key, their_key in _COMPARED:
            if ours[our_key] != theirs[their_key]:
                return f"{ours['name']}.{their_key}: {ours[our_key]!r}, expected {theirs[their_key]!r}"
        if ours["json_schema"] != theirs["json_schema"] or ours["type"] != theirs["annotation_name"]:
            return f"{ours['name']}: schema {ours['json_schema']!r}, expected {theirs['json_schema']!r}"
    return None
