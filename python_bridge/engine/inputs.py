"""Inputs of a call: exactly the declared fields, with values of the declared types."""

from collections.abc import Mapping
from typing import Any

import dspy
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from python_bridge.engine.rich import check_media, short_form
from python_bridge.engine.tables import table_rows
from python_bridge.errors import BridgeError
from python_bridge.wire.values import ArrowData, Tensor

# DSPy expands this text into content parts of its own making, wherever it stands in a prompt.
MARKER = "<<CUSTOM-TYPE-START-IDENTIFIER>>"
_MAX_PROBLEMS = 50
_MAX_ROWS = 1_000_000

Problem = dict[str, str]


class InputChecker:
    """Checks the inputs of one signature.

    Values are coerced as pydantic's lax mode does it: `"3"` is an `int` 3, `1` is a `float` 1.0 and a `bool`, lists
    are tuples and sets, ISO 8601 texts are dates, maps are models, an enum is given by its value. A `str` takes
    text only; an input without a type takes text, and anything else as DSPy would print it. Tensors are lists of
    numbers, tables lists of rows.

    Args:
        own_code: the inputs go to code of the server's own, not into a prompt: for `Any`, and where there is no type, a
            tensor is a `numpy.ndarray` then, and a table a `pyarrow.Table`.
    """

    def __init__(
        self, signature: type[dspy.Signature], optional: frozenset[str] = frozenset(), *, own_code: bool = False
    ) -> None:
        self._fields = {name: _Field(name, info, own_code) for name, info in signature.input_fields.items()}
        self._optional = optional

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values as the program takes them, in the order of the signature.

        Raises:
            BridgeError: `invalid_input` that names all problems at once (`details.problems`, `{path, message}`).
        """
        problems = [*self._unexpected(inputs)]
        values: dict[str, Any] = {}
        for name, field in self._fields.items():
            if name in inputs:
                values[name] = field.read(inputs[name], problems)
            elif field.has_default:
                continue
            else:
                problems.append({"path": name, "message": f"is missing; it is {field.words}"})
        if problems:
            raise refusal(problems)
        return values

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the inputs that have no default."""
        return tuple(name for name, field in self._fields.items() if not field.has_default)

    @staticmethod
    def convert(name: str, value: Any, adapter: TypeAdapter[Any] | None, problems: list[Problem]) -> Any:
        """Return one value as `adapter` takes it; what is wrong joins `problems`."""
        if type(value) is Tensor or type(value) is ArrowData:
            value = _unpack(name, value, problems, as_library=adapter is None)
            if adapter is None:
                return value
        return _read(name, value, adapter, problems)

    def _unexpected(self, inputs: Mapping[str, Any]) -> list[Problem]:
        extra = [str(name) for name in inputs if name not in self._fields]
        known = ", ".join(self._fields) or "none" if extra else ""
        return [{"path": name, "message": f"is not an input of this program (its inputs: {known})"} for name in extra]


class _Field:
    def __init__(self, name: str, info: FieldInfo, own_code: bool) -> None:
        check_media(name, info.annotation)
        extra: dict[str, Any] = info.json_schema_extra  # type: ignore[assignment]
        self._name = name
        untyped = bool(extra.get("IS_TYPE_UNDEFINED"))
        self._adapter = None if untyped else TypeAdapter(info.rebuild_annotation())
        self._short_form = short_form(info.annotation)
        self._as_library = own_code and (untyped or info.annotation is Any)
        self.has_default = not info.is_required()
        self.words = f"of the type {_type_name(info)}"

    def read(self, value: Any, problems: list[Problem]) -> Any:
        if type(value) is Tensor or type(value) is ArrowData:
            value = _unpack(self._name, value, problems, as_library=self._as_library)
            if self._as_library:
                return value
        if self._adapter is None and not _holds_marker(value, 0):
            return self._read_untyped(value, problems)
        native = self._short_form(value) if self._short_form is not None else value
        return _read(self._name, native, self._adapter, problems)

    def _read_untyped(self, value: Any, problems: list[Problem]) -> Any:
        """Without a type, DSPy prints anything but a list of other things than texts."""
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            problems.append(
                {"path": self._name, "message": "has no type, so a list must be one of texts; give it a type"}
            )
        return value


def _read(name: str, value: Any, adapter: TypeAdapter[Any] | None, problems: list[Problem]) -> Any:
    if _holds_marker(value, 0):
        problems.append({"path": name, "message": f"holds the reserved text {MARKER}; take it out"})
        return None
    try:
        return value if adapter is None else adapter.validate_python(value)
    except ValidationError as error:
        problems.extend(_problems(name, error))
    except (ValueError, TypeError, RecursionError) as error:
        problems.append({"path": name, "message": f"cannot be read: {error}"[:300]})
    return None


def _unpack(name: str, value: Tensor | ArrowData, problems: list[Problem], *, as_library: bool) -> Any:
    """Return an object of the library that the value is for, or what it holds as lists, rows as maps."""
    try:
        if isinstance(value, Tensor):
            return value.to_numpy() if as_library else value.to_numpy().tolist()
        table = value.to_table()
        if as_library:
            return table
        if table.num_rows > _MAX_ROWS:  # a few bytes can claim any number of them
            problems.append({"path": name, "message": f"has {table.num_rows} rows, more than {_MAX_ROWS} as a list"})
            return None
        return table_rows(name, table)
    except BridgeError as error:
        if error.kind != "invalid_input":
            raise
        problems.append({"path": name, "message": error.message})
        return None


def _type_name(info: FieldInfo) -> str:
    from dspy.adapters.utils import get_annotation_name

    return get_annotation_name(info.annotation)


def _problems(name: str, error: ValidationError) -> list[Problem]:
    found: list[Problem] = []
    for item in error.errors(include_url=False, include_context=False)[:_MAX_PROBLEMS]:
        path = ".".join([name, *(str(part) for part in item["loc"])])
        found.append({"path": path, "message": f"{item['msg']}; got {_shown(item['input'])}"})
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:80] + '…'}"


def refusal(problems: list[Problem]) -> BridgeError:
    """Return the `invalid_input` that names all problems."""
    shown = "; ".join(f"`{item['path']}` {item['message']}" for item in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return BridgeError("invalid_input", f"the inputs do not fit: {shown}{more}",
                       details={"problems": problems[:_MAX_PROBLEMS]})  # fmt: skip


def _holds_marker(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return MARKER in value
    if depth > 64:
        return False
    if isinstance(value, Mapping):
        return any(MARKER in str(key) or _holds_marker(item, depth + 1) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_marker(item, depth + 1) for item in value)
    return False


__all__ = ["MARKER", "InputChecker", "Problem", "refusal"]
