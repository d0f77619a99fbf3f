"""Signature text → nodes, by recursive descent over our own grammar.

```
signature = fields "->" fields
fields    = [ field { "," field } [ "," ] ]
field     = NAME [ ":" type ]
type      = item { "|" item }
item      = path [ "[" arguments "]" ] | constant | "(" [ type { "," type } [ "," ] ] ")" | constraint
path      = NAME { "." NAME }
constraint = "Field" "(" [ NAME "=" constant { "," NAME "=" constant } [ "," ] ] ")"
```
"""

from python_bridge.engine.signatures.errors import syntax_error
from python_bridge.engine.signatures.lexer import CONSTANT_WORDS, Token, is_reserved_word, tokenize
from python_bridge.engine.signatures.nodes import (
    Alternatives,
    Constant,
    Constraint,
    FieldNode,
    Group,
    Name,
    Node,
    SignatureNode,
    Span,
    Subscript,
)

MAX_TYPE_DEPTH = 32
_ARROW = "->"
_FORM = "Write it as `input: type, input -> output: type`."


def parse_signature(text: str) -> SignatureNode:
    """Parse a whole signature.

    Raises:
        BridgeError: `signature_error`; its message shows the text with a caret under the place.
    """
    first = text.find(_ARROW)
    if first < 0:
        raise syntax_error(text, len(text), len(text), "a signature needs one `->` and this has none", _FORM)
    if (second := text.find(_ARROW, first + 2)) >= 0:
        raise syntax_error(text, second, second + 2, "a signature has exactly one `->` and this has more", _FORM)
    inputs = _Parser(text, 0, first).fields()
    outputs = _Parser(text, first + 2, len(text)).fields()
    _check_distinct(text, inputs + outputs)
    return SignatureNode(inputs, outputs)


def parse_type(text: str) -> Node:
    """Parse one type that stands alone, as in a field list.

    Raises:
        BridgeError: `signature_error`, as `parse_signature`.
    """
    parser = _Parser(text, 0, len(text))
    node = parser.type(0)
    parser.expect_end()
    return node


def _check_distinct(text: str, fields: tuple[FieldNode, ...]) -> None:
    seen: set[str] = set()
    for field in fields:
        if field.name in seen:
            raise syntax_error(text, field.span.start, field.span.end, f"the field `{field.name}` stands twice",
                               "Give each input and output a name of its own.")  # fmt: skip
        seen.add(field.name)


class _Parser:
    """Reads tokens of one side; offsets stay those of the whole text."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text = text
        self._tokens = tokenize(text, start, end)
        self._index = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._index]

    def _take(self) -> Token:
        token = self._token
        self._index += 1
        return token

    def _at(self, symbol: str) -> bool:
        return self._token.kind == "symbol" and self._token.value == symbol

    def _accept(self, symbol: str) -> bool:
        if not self._at(symbol):
            return False
        self._index += 1
        return True

    def _fail(self, message: str, suggestion: str, token: Token | None = None) -> Exception:
        at = token or self._token
        return syntax_error(self._text, at.start, at.end, message, suggestion)

    def _expect(self, symbol: str, suggestion: str) -> Token:
        if not self._at(symbol):
            raise self._fail(f"`{symbol}` is missing here", suggestion)
        return self._take()

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise self._fail(f"{_shown(self._token)} is not expected here", "A type ends before this.")

    def fields(self) -> tuple[FieldNode, ...]:
        fields: list[FieldNode] = []
        while self._token.kind != "end":
            fields.append(self._field())
            if self._token.kind != "end" and not self._accept(","):
                raise self._after_field()
        return tuple(fields)

    def _field(self) -> FieldNode:
        token = self._token
        if token.kind != "name":
            raise self._not_a_field(token)
        name = str(self._take().value)
        if is_reserved_word(name):
            raise self._fail(f"`{name}` is a word of Python and cannot name a field", f"Use `{name}_`.", token)
        if name.startswith("_"):
            raise self._fail("a field's name cannot begin with `_`", f"Use `{name.lstrip('_') or 'value'}`.", token)
        node = self.type(0) if self._accept(":") else None
        return FieldNode(name, node, Span(token.start, token.end))

    def _not_a_field(self, token: Token) -> Exception:
        if token.value in ("*", "**", "/"):
            return self._fail(f"`{token.value}` would be dropped silently", "Name each field.")
        return self._fail(f"a field's name is expected, not {_shown(token)}", _FORM)

    def _after_field(self) -> Exception:
        if self._at("="):
            return self._fail("fields have no default values", "Leave the `=` and what follows out.")
        return self._fail(f"{_shown(self._token)} is not expected here", "Part fields by commas.")

    def type(self, depth: int) -> Node:
        """Read `item { "|" item }`."""
        if depth > MAX_TYPE_DEPTH:
            raise self._fail(f"types are nested deeper than {MAX_TYPE_DEPTH}", "Give the inner type a name.")
        items = [self._item(depth)]
        while self._accept("|"):
            items.append(self._item(depth))
        if len(items) == 1:
            return items[0]
        return Alternatives(tuple(items), Span(items[0].span.start, items[-1].span.end))

    def _item(self, depth: int) -> Node:
        token = self._token
        if token.kind in ("string", "number"):
            return self._constant()
        if token.kind == "name":
            return self._named(depth)
        if self._at("..."):
            self._take()
            return Constant(..., Span(token.start, token.end))
        if self._at("("):
            return self._group(depth)
        if self._at("["):
            raise self._fail("a list of types is no type", "A list is written `list[type]`.")
        raise self._fail(
            f"a type is expected, not {_shown(token)}", "For example `str`, `list[int]`, `Literal['a', 'b']`."
        )

    def _constant(self) -> Constant:
        first = self._take()
        value, end = first.value, first.end
        while first.kind == "string" and self._token.kind == "string":
            if type(self._token.value) is not type(value):
                raise self._fail("text and bytes cannot be joined", "Write one literal.")
            value, end = value + self._token.value, self._token.end  # type: ignore[operator]
            self._take()
        return Constant(value, Span(first.start, end))

    def _named(self, depth: int) -> Node:
        token = self._take()
        word = str(token.value)
        if word in CONSTANT_WORDS:
            return Constant(CONSTANT_WORDS[word], Span(token.start, token.end))
        if is_reserved_word(word):
            raise self._fail(f"`{word}` is no type", "Signatures hold types, no expressions.", token)
        path, end = self._path(word, token.end)
        name = Name(path, Span(token.start, end))
        if self._at("("):
            if path != "Field":
                raise self._fail(f"`{path}(…)` is a call, and nothing is called here", "Write the type alone.")
            return self._constraint(token)
        return self._subscript(name, depth) if self._at("[") else name

    def _path(self, word: str, end: int) -> tuple[str, int]:
        while self._accept("."):
            if self._token.kind != "name":
                raise self._fail("a name is expected after the dot", "For example `datetime.date`.")
            end = self._token.end
            word += f".{self._take().value}"
        return word, end

    def _subscript(self, base: Name, depth: int) -> Subscript:
        opening = self._take()
        items, closing = self._items("]", depth, opening)
        if not items:
            raise syntax_error(self._text, opening.start, closing.end, f"`{base.path}[]` has no argument",
                               f"Write `{base.path}` alone, or `{base.path}[type]`.")  # fmt: skip
        if len(items) == 1 and isinstance(items[0], Group) and self._tokens[self._index - 2].value == ",":
            span = items[0].span
            raise syntax_error(self._text, span.start, span.end, "a group is no type",
                               "Write the types without parentheses.")  # fmt: skip
        # `Literal[('a', 'b')]` and `Literal['a', 'b']` are the same in Python.
        arguments = items[0].items if len(items) == 1 and isinstance(items[0], Group) else tuple(items)
        node = Subscript(base, arguments, Span(base.span.start, closing.end))
        if self._at("[") or self._at("."):
            raise self._fail(f"nothing may follow `{base.path}[…]`", "Write one pair of brackets.")
        return node

    def _group(self, depth: int) -> Node:
        opening = self._take()
        items, closing = self._items(")", depth, opening)
        before = self._tokens[self._index - 2]
        if len(items) == 1 and before.value != ",":
            return items[0]
        return Group(tuple(items), Span(opening.start, closing.end))

    def _items(self, closing: str, depth: int, opening: Token) -> tuple[list[Node], Token]:
        items: list[Node] = []
        while not self._at(closing):
            if self._token.kind == "end":
                raise self._fail(f"this `{opening.value}` is not closed", f"Add a `{closing}`.", opening)
            items.append(self.type(depth + 1))
            if not self._accept(",") and not self._at(closing) and self._token.kind != "end":
                raise self._fail(f"{_shown(self._token)} is not expected here", f"Expected `,` or `{closing}`.")
        return items, self._take()

    def _constraint(self, start: Token) -> Constraint:
        self._take()
        options: list[tuple[str, Constant]] = []
        while not self._at(")"):
            options.append(self._option())
            if not self._accept(",") and not self._at(")"):
                raise self._fail(f"{_shown(self._token)} is not expected here", "Expected `,` or `)`.")
        return Constraint(tuple(options), Span(start.start, self._take().end))

    def _option(self) -> tuple[str, Constant]:
        if self._token.kind != "name":
            raise self._fail("`Field` takes options by name", "For example `Field(ge=0, le=10)`.")
        name = str(self._take().value)
        self._expect("=", f"Write `{name}=value`.")
        token = self._token
        if token.kind == "name" and str(token.value) in CONSTANT_WORDS:
            self._take()
            return name, Constant(CONSTANT_WORDS[str(token.value)], Span(token.start, token.end))
        if token.kind not in ("string", "number"):
            raise self._fail(f"a number or a text is expected for `{name}`", "For example `Field(ge=0)`.")
        return name, self._constant()


def _shown(token: Token) -> str:
    return "the end of the text" if token.kind == "end" else f"`{token.value}`"


__all__ = ["MAX_TYPE_DEPTH", "parse_signature", "parse_type"]
