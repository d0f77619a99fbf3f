"""Type nodes → Python types, through the table of names and the registered types."""

import difflib
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from pydantic import Field

from python_bridge.engine.signatures.errors import syntax_error
from python_bridge.engine.signatures.names import builtin_names, lookup
from python_bridge.engine.signatures.nodes import Alternatives, Constant, Constraint, Group, Name, Node, Subscript
from python_bridge.engine.signatures.parser import parse_type
from python_bridge.errors import BridgeError

_ARITY: dict[Any, int] = {list: 1, set: 1, frozenset: 1, dict: 2, typing.Optional: 1}

_LITERALS = (str, int, bool, float, bytes, type(None))

_FIELD_OPTIONS = {
    "gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "description", "title", "strict",
    "max_digits", "decimal_places", "allow_inf_nan",
}  # fmt: skip

_OTHER_NAMES = {
    "string": "str", "String": "str", "text": "str", "integer": "int", "Integer": "int", "number": "float",
    "boolean": "bool", "Boolean": "bool", "array": "list", "object": "dict", "map": "dict", "Number": "float",
    "date": "datetime.date", "datetime": "datetime.datetime", "Image": "dspy.Image", "History": "dspy.History",
    "uuid": "uuid.UUID", "UUID": "uuid.UUID", "Decimal": "decimal.Decimal", "decimal": "decimal.Decimal",
    "any": "Any", "null": "None", "nil": "None", "bytearray": "bytes", "Type": "str",
}  # fmt: skip


class Resolver:
    """Makes Python types of nodes.

    Args:
        text: the signature, for messages.
        registered: types by name that the server registered.
    """

    def __init__(self, text: str, registered: Mapping[str, type]) -> None:
        self._text = text
        self._registered = registered

    def annotation(self, node: Node) -> Any:
        """Return the type of a whole field.

        Raises:
            BridgeError: `signature_error` when the node is no type, or names one that is not known.
        """
        if isinstance(node, Constant | Group | Constraint):
            self._fail(node, "this is a value, not a type", "For example `str`, `list[int]`, `Literal['a', 'b']`.")
        return self._type(node)

    def _fail(self, node: Node, message: str, suggestion: str) -> NoReturn:
        raise syntax_error(self._text, node.span.start, node.span.end, message, suggestion)

    def _type(self, node: Node) -> Any:
        match node:
            case Name():
                return self._name(node)
            case Alternatives():
                return self._alternatives(node)
            case Subscript():
                return self._subscript(node)
            case Constant(value=None):
                return None
            case Constant(value=str(text)):
                return self._quoted(node, text)
            case _:
                pass
        return self._fail(node, "this is a value, not a type", "Values stand only in `Literal[…]`.")

    def _name(self, node: Name) -> Any:
        found = lookup(node.path, self._registered)
        if found is None:
            self._fail(node, f"the type `{node.path}` is not known", self._suggestion(node.path))
        return found

    def _suggestion(self, path: str) -> str:
        names = [*builtin_names(), *self._registered]
        if other := _OTHER_NAMES.get(path):
            return f"Did you mean `{other}`?"
        if close := difflib.get_close_matches(path, names, n=1):
            return f"Did you mean `{close[0]}`?"
        return "Use a builtin type such as `str` or `list[int]`, or register the type in the worker's settings."

    def _alternatives(self, node: Alternatives) -> Any:
        """Join `a | b | c` two by two, as DSPy does: a `NoneType` on the left goes behind the other."""
        joined = self._type(node.items[0])
        for item in node.items[1:]:
            left, right = joined, self._type(item)
            pair = (right, left) if left is type(None) else (left, right)
            joined = self._build(node, lambda pair=pair: typing.Union[pair])  # noqa: UP007
        return joined

    def _union(self, node: Node, items: tuple[Node, ...]) -> Any:
        if not items:
            self._fail(node, "a union needs at least one type", "For example `Union[int, str]`.")
        return self._build(node, lambda: typing.Union[tuple(self._type(item) for item in items)])  # noqa: UP007

    def _subscript(self, node: Subscript) -> Any:
        base = self._name(node.base)
        if base is typing.Literal:
            return self._literal(node)
        if base is typing.Union:
            return self._union(node, node.arguments)
        if base is typing.Annotated:
            return self._annotated(node)
        if node.base.path == "dspy.Code":
            return self._code(node, base)
        return self._generic(node, base)

    def _generic(self, node: Subscript, base: Any) -> Any:
        arity = _ARITY.get(typing.get_origin(base) or base)
        if arity is not None and len(node.arguments) != arity:
            self._fail(node, f"`{node.base.path}` takes {arity} type argument{'s' * (arity > 1)}, not "
                       f"{len(node.arguments)}", f"For example `{_example(node.base.path, arity)}`.")  # fmt: skip
        if base in (str, int, float, bool, bytes, complex) or (
            not hasattr(base, "__class_getitem__") and not _is_alias(base)
        ):
            self._fail(node, f"`{node.base.path}` takes no type arguments", f"Write `{node.base.path}` alone.")
        arguments = tuple(self._argument(item, base, at) for at, item in enumerate(node.arguments))
        if base is typing.Optional:
            return self._build(node, lambda: typing.Optional[arguments[0]])  # noqa: UP045
        return self._build(node, lambda: base[arguments])

    def _argument(self, node: Node, base: Any, position: int) -> Any:
        if (
            isinstance(node, Constant)
            and node.value is ...
            and (typing.get_origin(base) or base) is tuple
            and position == 1
        ):
            return ...
        return self._type(node)

    def _literal(self, node: Subscript) -> Any:
        values: list[Any] = []
        for item in node.arguments:
            if isinstance(item, Subscript) and self._name(item.base) is typing.Literal:
                values.extend(typing.get_args(self._literal(item)))
            elif isinstance(item, Constant) and isinstance(item.value, _LITERALS):
                values.append(item.value)
            else:
                self._fail(item, "a literal holds texts, numbers, `True`, `False` and `None`", "Quote it: 'text'.")
        return typing.Literal[tuple(values)]

    def _annotated(self, node: Subscript) -> Any:
        if len(node.arguments) < 2:
            self._fail(node, "`Annotated` takes a type and at least one constraint", "Write the type alone.")
        extras = [self._constraint(item) for item in node.arguments[1:]]
        base = self._type(node.arguments[0])
        if _holds_itself(base):
            self._fail(
                node.arguments[0],
                f"`{base.__name__}` holds itself, and pydantic would put the `Field(…)` into the model of all programs",
                "Write the type alone.",
            )
        return self._build(node, lambda: typing.Annotated[(base, *extras)])

    def _constraint(self, node: Node) -> Any:
        if isinstance(node, Constant) and node.value is not ...:
            return node.value
        if not isinstance(node, Constraint):
            self._fail(node, "only `Field(…)` and constants may follow the type", "For example `Field(ge=0, le=10)`.")
        for name, value in node.options:
            if name not in _FIELD_OPTIONS:
                self._fail(
                    value, f"`Field` has no option `{name}` here", f"Known are {', '.join(sorted(_FIELD_OPTIONS))}."
                )
        options: dict[str, Any] = {name: value.value for name, value in node.options}
        return self._build(node, lambda: Field(**options))

    def _code(self, node: Subscript, base: Any) -> Any:
        language = node.arguments[0]
        if len(node.arguments) != 1 or not isinstance(language, Constant) or not isinstance(language.value, str):
            self._fail(node, "`dspy.Code` takes the name of a language", "For example `dspy.Code['python']`.")
        return self._build(node, lambda: base[(language.value,)])

    def _quoted(self, node: Constant, text: str) -> Any:
        if text[:1] in (" ", "\t"):
            # Python reads what is quoted as an expression, which begins at once.
            self._fail(node, "a type in quotes cannot begin with a blank", "Write the type without quotes.")
        try:
            return Resolver(text, self._registered).annotation(parse_type(text))
        except BridgeError as error:
            first_line = error.message.partition("\n")[0]
            self._fail(node, f"{first_line} (in quotes)", "Only `Literal[…]` holds texts; write types without quotes.")

    def _build(self, node: Node, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (TypeError, ValueError, RuntimeError) as error:
            self._fail(node, f"this type cannot be made: {error}", "Check its arguments.")


def _holds_itself(base: Any) -> bool:
    schema = getattr(base, "__pydantic_core_schema__", None)
    return isinstance(schema, Mapping) and schema.get("type") in ("definitions", "definition-ref")


def _is_alias(base: Any) -> bool:
    return (
        isinstance(base, typing._SpecialForm)
        or type(base).__module__ == "typing"
        or isinstance(base, types.GenericAlias)
    )


def _example(path: str, arity: int) -> str:
    return f"{path}[{'str, int' if arity == 2 else 'str'}]"


__all__ = ["Resolver"]
