"""The value model that all encodings share: limits, tensors, Arrow data, dates, and what Python has beside them."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from math import prod
from typing import Any, cast
from uuid import UUID

from python_bridge.errors import BridgeError

DTYPE_BYTES: dict[str, int] = {
    **dict.fromkeys(("u8", "s8", "bool"), 1),
    **dict.fromkeys(("u16", "s16", "f16", "bf16"), 2),
    **dict.fromkeys(("u32", "s32", "f32"), 4),
    **dict.fromkeys(("u64", "s64", "f64"), 8),
}
"""Names of tensor element types (Nx's short names) and the bytes that one element takes."""

JSON_ATTACHMENT_BYTES = 1024
"""Base64 costs more than a part of its own from a few hundred bytes on (`make bench ONLY=attach`)."""

MSGPACK_ATTACHMENT_BYTES = 64 * 1024
"""Bytes stand in MessagePack as they are: a part of its own saves one copy, which shows in large ones."""

MAX_TABLE_BYTES = 1024 * 1024 * 1024
"""What an Arrow table may become when it is opened, unless the settings say otherwise."""

_MAX_ATTACHMENTS = 0xFFFF - 1  # the envelope is a part too

type_of: Any = type  # untyped, as the values are

_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a value may be at most, in every encoding and both directions.

    Attributes:
        max_depth: levels of lists, maps, tuples and sets; the outermost map of a body is the first.
        max_items: items of one collection.
        max_table_bytes: what the compressed parts of an Arrow table may become when it is opened.
        attachment_bytes: byte strings, tensors and Arrow data above this size leave as attachments; ``None``: where
            that begins to pay, which is `JSON_ATTACHMENT_BYTES` and `MSGPACK_ATTACHMENT_BYTES`.
    """

    max_depth: int = 64
    max_items: int = 1_000_000
    attachment_bytes: int | None = None
    max_table_bytes: int = MAX_TABLE_BYTES

    def attaches(self, value: bytes, attachments: list[bytes], default: int) -> bool:
        """Whether `value` leaves as one more attachment; what a body can count no more stays inline.

        Args:
            default: the threshold of the encoding, for where `attachment_bytes` says none.
        """
        threshold = default if self.attachment_bytes is None else self.attachment_bytes
        return len(value) > threshold and len(attachments) < _MAX_ATTACHMENTS

    def check_items(self, count: int) -> None:
        """Raise `limit_exceeded` when one collection has more than `max_items` items."""
        if count > self.max_items:
            raise BridgeError(
                "limit_exceeded",
                f"a collection has {count} items, above the limit of {self.max_items}; send it in parts or as a tensor",
                details={"limit": "max_items"},
            )

    def check_depth(self, depth: int) -> None:
        """Raise `limit_exceeded` when a collection lies at a level below `max_depth`."""
        if depth > self.max_depth:
            raise BridgeError(
                "limit_exceeded",
                f"values are nested more than {self.max_depth} levels deep (max_depth); make them flatter",
                details={"limit": "max_depth"},
            )


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers with a shape: little-endian, row-major.

    Raises:
        BridgeError: `invalid_input` when the dtype is unknown, or the data has not exactly the shape's size.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise BridgeError(
                "invalid_input", f"a tensor has the dtype {self.dtype!r}; known are {', '.join(DTYPE_BYTES)}"
            )
        if any(size < 0 for size in self.shape):
            raise BridgeError("invalid_input", f"a tensor has the shape {list(self.shape)}; sizes are 0 or more")
        wanted = prod(self.shape) * DTYPE_BYTES[self.dtype]
        if wanted != len(self.data):
            text = f"a tensor of {self.dtype} and shape {list(self.shape)} needs {wanted} bytes"
            raise BridgeError("invalid_input", f"{text}, it has {len(self.data)}")

    def to_numpy(self) -> Any:
        """Return a read-only `numpy.ndarray` on the same bytes; ``bf16`` comes as its raw ``uint16``."""
        import numpy

        return numpy.frombuffer(self.data, dtype=_numpy_dtype(self.dtype)).reshape(self.shape)

    @classmethod
    def from_numpy(cls, array: Any) -> "Tensor":
        """Take a `numpy.ndarray` of a known dtype, in any memory order.

        Raises:
            BridgeError: `invalid_input` for other dtypes (objects, text, complex numbers).
        """
        kind, size = array.dtype.kind, array.dtype.itemsize
        name = "bool" if kind == "b" else f"{'s' if kind == 'i' else kind}{size * 8}"
        if kind not in "biuf" or name not in DTYPE_BYTES:
            raise BridgeError("invalid_input", f"an array of dtype {array.dtype} is no tensor; cast it to a known one")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return cls(name, tuple(array.shape), little.tobytes(order="C"))


@dataclass(frozen=True, slots=True)
class ArrowData:
    """A table as an Arrow IPC stream.

    Attributes:
        ipc: the stream.
        max_bytes: what its compressed parts may become together when it is opened.
    """

    ipc: bytes
    max_bytes: int = field(default=MAX_TABLE_BYTES, repr=False, compare=False)

    def to_table(self) -> Any:
        """Return the `pyarrow.Table`.

        Raises:
            BridgeError: `unavailable` without pyarrow, `invalid_input` when the bytes are no Arrow IPC stream,
                `limit_exceeded` when they inflate to more than `max_bytes`.
        """
        from python_bridge.wire.arrow import read_table

        return read_table(self.ipc, self.max_bytes)


def _numpy_dtype(dtype: str) -> str:
    if dtype == "bool":
        return "bool"
    if dtype == "bf16":
        return "<u2"
    return f"<{'i' if dtype[0] == 's' else dtype[0]}{DTYPE_BYTES[dtype]}"


def to_model(value: Any) -> Any:
    """Return the model value for an object of a type outside the model: one step, not its members.

    Subclasses become their base, enum members their value, UUIDs text, numpy arrays and scalars and pyarrow
    tables what they hold.

    Raises:
        BridgeError: `invalid_input` for anything else, naming its type.
    """
    for base in (str, bool, int, float, tuple, list, datetime, date):
        if isinstance(value, base) and not isinstance(value, Enum):
            return _base_of(value, base)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, set | frozenset):
        return frozenset(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return _foreign_to_model(value)


def _base_of(value: Any, base: type) -> Any:
    if base is datetime:
        return datetime.fromisoformat(value.isoformat())
    if base is date:
        return date(value.year, value.month, value.day)
    return str.__str__(value) if base is str else base(value)


def _foreign_to_model(value: Any) -> Any:
    """Convert objects of libraries, which must have been imported already if such an object exists."""
    if (numpy := sys.modules.get("numpy")) is not None:
        if isinstance(value, numpy.ndarray):
            return Tensor.from_numpy(value)
        if isinstance(value, numpy.generic):
            return value.item()
    if (arrow := sys.modules.get("pyarrow")) is not None:
        if isinstance(value, arrow.Table | arrow.RecordBatch):
            from python_bridge.wire.arrow import write_table

            return ArrowData(write_table(value))
        if isinstance(value, arrow.Tensor):
            return Tensor.from_numpy(value.to_numpy())
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    raise BridgeError("invalid_input", f"a value of type {name} cannot cross the wire; convert it to plain data first")


def write_datetime(value: datetime) -> str:
    """Return ISO 8601 text, with the offset only when there is one.

    Raises:
        BridgeError: `invalid_input` for an offset of parts of a minute, which the wire cannot carry.
    """
    offset = value.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        raise BridgeError("invalid_input", f"the offset of {value.isoformat()} is not a whole number of minutes")
    return value.isoformat()


def read_datetime(text: object) -> datetime:
    """Read what `write_datetime` writes, and ``Z``.

    Raises:
        BridgeError: `protocol_error` for other text.
    """
    if isinstance(text, str) and _DATETIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise BridgeError("protocol_error", f"{text!r} is no date and time like 2026-01-02T03:04:05.123456+02:00")


def read_date(text: object) -> date:
    """Read ``2026-01-02``.

    Raises:
        BridgeError: `protocol_error` for other text.
    """
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise BridgeError("protocol_error", f"{text!r} is no date like 2026-01-02")


def read_set(items: list[Any]) -> frozenset[Any]:
    """Return the set of `items`.

    Raises:
        BridgeError: `protocol_error` when two items are equal, `invalid_input` when Python cannot hold one in a set.
    """
    try:
        result = frozenset(items)
    except TypeError:
        text = "a set has an item that Python cannot hold in a set (a list or a map); send a list instead"
        raise BridgeError("invalid_input", text) from None
    if len(result) != len(items):
        raise BridgeError("protocol_error", "a set has two items that are equal")
    return result


def read_tensor(dtype: object, shape: object, data: object) -> Tensor:
    """Put a tensor together from its decoded parts.

    Raises:
        BridgeError: `protocol_error` when a part has the wrong type, or the parts do not fit each other.
    """
    sizes: list[Any] = cast("list[Any]", shape) if isinstance(shape, list) else [None]
    if not isinstance(dtype, str) or not isinstance(data, bytes) or any(type(size) is not int for size in sizes):
        raise BridgeError("protocol_error", "a tensor is {dtype: text, shape: list of integers, data: bytes}")
    try:
        return Tensor(dtype, tuple(sizes), data)
    except BridgeError as error:
        raise BridgeError("protocol_error", error.message) from None


def text_keys(value: dict[Any, Any]) -> dict[str, Any]:
    """Return `value` with its keys as plain text.

    Raises:
        BridgeError: `invalid_input` for a key that is not text.
    """
    for key in value:
        if not isinstance(key, str):
            raise BridgeError("invalid_input", f"a map has the key {key!r} of type {type(key).__name__}; keys are text")
    return {str.__str__(key): item for key, item in value.items()}


def read_attachment(attachments: list[bytes], part: object) -> bytes:
    """Return attachment `part`, counted from 1.

    Raises:
        BridgeError: `protocol_error` when the body has no such part.
    """
    if type(part) is not int or not 1 <= part <= len(attachments):
        text = f"a value points to attachment {part!r}; the body has {len(attachments)}"
        raise BridgeError("protocol_error", text)
    return attachments[part - 1]


__all__ = [
    "DEFAULT_LIMITS",
    "DTYPE_BYTES",
    "JSON_ATTACHMENT_BYTES",
    "MSGPACK_ATTACHMENT_BYTES",
    "ArrowData",
    "Limits",
    "Tensor",
    "read_attachment",
    "read_date",
    "read_datetime",
    "read_set",
    "read_tensor",
    "text_keys",
    "to_model",
    "type_of",
    "write_datetime",
]
