"""What the parser makes of a signature: plain data, no types yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A place in the signature's text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Name:
    """`int`, `typing.List`, `dspy.Image`: a path of names."""

    path: str
    span: Span


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a string, bytes, `None`, `True`, `False` or `...`."""

    value: object
    span: Span


@dataclass(frozen=True, slots=True)
class Group:
    """Several nodes in parentheses: `()`, `('a', 'b')`."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Subscript:
    """`base[arguments]`."""

    base: Name
    arguments: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Alternatives:
    """`left | right | …`."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Constraint:
    """`Field(ge=0, description='…')` inside `Annotated[…]`."""

    options: tuple[tuple[str, Constant], ...]
    span: Span


Node = Name | Constant | Group | Subscript | Alternatives | Constraint


@dataclass(frozen=True, slots=True)
class FieldNode:
    """One field: `type` is None where none is written."""

    name: str
    type: Node | None
    span: Span


@dataclass(frozen=True, slots=True)
class SignatureNode:
    """Both sides of a signature."""

    inputs: tuple[FieldNode, ...]
    outputs: tuple[FieldNode, ...]


__all__ = [
    "Alternatives",
    "Constant",
    "Constraint",
    "FieldNode",
    "Group",
    "Name",
    "Node",
    "SignatureNode",
    "Span",
    "Subscript",
]
