"""A signature as data: fields with Python types, ready to become a `dspy.Signature`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from python_bridge.engine.signatures.nodes import FieldNode
from python_bridge.engine.signatures.parser import parse_signature
from python_bridge.engine.signatures.resolve import Resolver

Role = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field.

    Attributes:
        annotation: Python type, as pydantic takes it.
        typed: whether the signature wrote a type; DSPy treats untyped inputs more freely.
        desc: ``None`` leaves DSPy's own (``${name}``).
        prefix: ``None`` leaves DSPy's own.
        constraints: options of pydantic's `Field` (`ge`, `max_length`, …).
        default: what the field has where nothing gives it a value; `...` for none.
        place: offsets of the field in the signature's text, where it has one.
    """

    name: str
    role: Role
    annotation: Any
    typed: bool = True
    desc: str | None = None
    prefix: str | None = None
    constraints: Mapping[str, Any] = field(default_factory=dict[str, Any])
    default: Any = ...
    place: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SignatureSpec:
    """All fields, inputs first, with the instructions (``None``: DSPy's own) and the text they came from, if any."""

    fields: tuple[FieldSpec, ...]
    instructions: str | None = None
    name: str = "StringSignature"
    text: str | None = None


def spec_from_text(
    text: str, instructions: str | None = None, registered: Mapping[str, type] | None = None
) -> SignatureSpec:
    """Parse signature text.

    Raises:
        BridgeError: `signature_error`, with the text and a caret under the place.
    """
    node = parse_signature(text)
    resolver = Resolver(text, registered or {})
    fields = [_field(item, "input", resolver) for item in node.inputs]
    fields += [_field(item, "output", resolver) for item in node.outputs]
    return SignatureSpec(tuple(fields), instructions, text=text)


def _field(node: FieldNode, role: Role, resolver: Resolver) -> FieldSpec:
    annotation = str if node.type is None else resolver.annotation(node.type)
    end = node.span.end if node.type is None else node.type.span.end
    return FieldSpec(node.name, role, annotation, typed=node.type is not None, place=(node.span.start, end))


__all__ = ["FieldSpec", "Role", "SignatureSpec", "spec_from_text"]
