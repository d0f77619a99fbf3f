"""The `signature` member of a program → a spec: text, a field list, or a registered class."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from python_bridge.engine.signatures.build import build_signature
from python_bridge.engine.signatures.parser import parse_type
from python_bridge.engine.signatures.resolve import Resolver
from python_bridge.engine.signatures.schema_type import schema_type
from python_bridge.engine.signatures.spec import FieldSpec, SignatureSpec, spec_from_text
from python_bridge.errors import BridgeError

_NUMERIC = {"gt", "ge", "lt", "le", "multiple_of"}


class SignatureFactory:
    """Makes signature classes of what programs say.

    Args:
        types: types that signatures may name, registered by the server.
        classes: signature classes that programs may name (`{"class": …}`).
    """

    def __init__(self, types: Mapping[str, type] | None = None, classes: Mapping[str, Any] | None = None) -> None:
        self._types = dict(types or {})
        self._classes = dict(classes or {})

    def make(self, member: str | Mapping[str, Any] | None) -> Any:
        """Return a `dspy.Signature` class.

        Raises:
            BridgeError: `signature_error`; `invalid_request` where a program has no signature; `not_found` for a class
                that is not registered.
        """
        if member is None:
            raise BridgeError("invalid_request", "this kind of program needs a `signature`")
        if isinstance(member, str):
            return build_signature(spec_from_text(member, None, self._types))
        return self._from_map(member)

    def _from_map(self, member: Mapping[str, Any]) -> Any:
        instructions = member.get("instructions")
        if (name := member.get("class")) is not None:
            return self._registered(name, instructions)
        if (text := member.get("text")) is not None:
            return build_signature(self._merged(text, member, instructions))
        fields = tuple(self._field(item) for item in member["fields"])
        ordered = tuple(sorted(fields, key=lambda item: item.role == "output"))
        _check_distinct(ordered)
        return build_signature(SignatureSpec(ordered, instructions, name=member.get("name") or "StringSignature"))

    def _registered(self, name: str, instructions: str | None) -> Any:
        if (found := self._classes.get(name)) is None:
            known = ", ".join(sorted(self._classes)) or "none"
            raise BridgeError("not_found", f"no signature class {name!r} is registered in this worker (known: {known})")
        return found if instructions is None else found.with_instructions(instructions)

    def _merged(self, text: str, member: Mapping[str, Any], instructions: str | None) -> SignatureSpec:
        """`text` says names and types, `fields` adds descriptions and constraints by name."""
        spec = spec_from_text(text, instructions, self._types)
        added = {item["name"]: item for item in member.get("fields", ())}
        names = {item.name for item in spec.fields}
        if unknown := [name for name in added if name not in names]:
            raise BridgeError("signature_error", f"`fields` describes `{unknown[0]}`, which the text does not have")
        fields = tuple(_described(item, added.get(item.name, {})) for item in spec.fields)
        return SignatureSpec(fields, instructions, member.get("name") or "StringSignature", text)

    def _field(self, item: Mapping[str, Any]) -> FieldSpec:
        name = item["name"]
        if "type" in item and "schema" in item:
            raise BridgeError("signature_error", f"the field `{name}` has both a `type` and a `schema`; give one")
        if name.startswith("_"):
            raise BridgeError("signature_error", f"the field `{name}`: a name cannot begin with `_`")
        annotation: Any = str
        if "schema" in item:
            annotation = schema_type(item["schema"], name)
        elif "type" in item:
            annotation = self._typed(name, item["type"])
        typed = "type" in item or "schema" in item
        return _described(FieldSpec(name, item["role"], annotation, typed=typed), item)

    def _typed(self, name: str, text: str) -> Any:
        try:
            return Resolver(text, self._types).annotation(parse_type(text))
        except BridgeError as error:
            raise BridgeError(
                "signature_error", f"the field `{name}`: {error.message}", details={**error.details, "field": name}
            ) from None


def _described(spec: FieldSpec, item: Mapping[str, Any]) -> FieldSpec:
    constraints = dict(item.get("constraints") or {})
    _check_constraints(spec, constraints)
    return FieldSpec(
        spec.name,
        spec.role,
        spec.annotation,
        typed=spec.typed,
        desc=item.get("desc", spec.desc),
        prefix=item.get("prefix", spec.prefix),
        constraints=constraints,
        default=_default(spec, item),
        place=spec.place,
    )


def _default(spec: FieldSpec, item: Mapping[str, Any]) -> Any:
    if "default" not in item:
        return spec.default
    try:
        return TypeAdapter(spec.annotation).validate_python(item["default"])
    except (ValidationError, PydanticUserError):
        text = f"the default of `{spec.name}` does not fit its type"
        raise BridgeError("signature_error", f"{text}; give a value of the type, or none") from None


def _check_constraints(spec: FieldSpec, constraints: dict[str, Any]) -> None:
    if (pattern := constraints.get("pattern")) is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise BridgeError("signature_error", f"the pattern of `{spec.name}` is wrong: {error}") from None
    if spec.annotation is str and (wrong := _NUMERIC & set(constraints)):
        raise BridgeError(
            "signature_error", f"`{sorted(wrong)[0]}` does not fit the text `{spec.name}`; use a number type"
        )


def _check_distinct(fields: tuple[FieldSpec, ...]) -> None:
    seen: set[str] = set()
    for item in fields:
        if item.name in seen:
            raise BridgeError("signature_error", f"the field `{item.name}` stands twice; names are unique")
        seen.add(item.name)


__all__ = ["SignatureFactory"]
