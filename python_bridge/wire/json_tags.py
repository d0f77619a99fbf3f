"""Values that JSON lacks, as objects with a `$type`: `Tagger` writes them, `Untagger` reads them."""

from base64 import b64decode, b64encode
from datetime import date, datetime
from math import isfinite
from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.wire.values import (
    JSON_ATTACHMENT_BYTES,
    ArrowData,
    Limits,
    Tensor,
    read_attachment,
    read_date,
    read_datetime,
    read_set,
    read_tensor,
    text_keys,
    to_model,
    type_of,
    write_datetime,
)

TAG = "$type"
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_AS_IT_IS = frozenset({str, bool, type(None)})


class Tagger:
    """Rewrites values into what orjson writes, with `$type` tags."""

    __slots__ = ("attachments", "limits")

    def __init__(self, limits: Limits, attachments: list[bytes] | None) -> None:
        self.limits = limits
        self.attachments = attachments

    def value(self, value: Any, depth: int) -> Any:
        kind = type_of(value)
        if kind in _AS_IT_IS:
            return value
        if (write := _WRITERS.get(kind)) is not None:
            return write(self, value, depth)
        return self.value(to_model(value), depth)

    def _items(self, items: Any, depth: int) -> list[Any]:
        self.limits.check_depth(depth)
        self.limits.check_items(len(items))
        return [self.value(item, depth + 1) for item in items]

    def write_dict(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        self.limits.check_depth(depth)
        self.limits.check_items(len(value))
        if any(type(key) is not str for key in value):
            value = text_keys(value)
        if TAG not in value:
            return {key: self.value(item, depth + 1) for key, item in value.items()}
        return {TAG: "map", "entries": [[key, self.value(item, depth + 1)] for key, item in value.items()]}

    def write_int(self, value: int, depth: int) -> Any:
        return value if _MIN_INT <= value <= _MAX_INT else {TAG: "int", "value": int_to_text(value)}

    def write_float(self, value: float, depth: int) -> Any:
        if isfinite(value):
            return value
        return {TAG: "float", "value": "nan" if value != value else "inf" if value > 0 else "-inf"}

    def write_bytes(self, value: bytes, depth: int) -> Any:
        if self.attachments is not None and self.limits.attaches(value, self.attachments, JSON_ATTACHMENT_BYTES):
            self.attachments.append(value)
            return {TAG: "attachment", "part": len(self.attachments)}
        return {TAG: "bytes", "base64": b64encode(value).decode("ascii")}

    def write_list(self, value: list[Any], depth: int) -> Any:
        return self._items(value, depth)

    def write_tuple(self, value: tuple[Any, ...], depth: int) -> Any:
        return {TAG: "tuple", "items": self._items(value, depth)}

    def write_set(self, value: frozenset[Any], depth: int) -> Any:
        return {TAG: "set", "items": self._items(value, depth)}

    def write_datetime(self, value: datetime, depth: int) -> Any:
        return {TAG: "datetime", "value": write_datetime(value)}

    def write_date(self, value: date, depth: int) -> Any:
        return {TAG: "date", "value": value.isoformat()}

    def write_tensor(self, value: Tensor, depth: int) -> Any:
        shape = list(value.shape)
        return {TAG: "tensor", "dtype": value.dtype, "shape": shape, "data": self.write_bytes(value.data, depth)}

    def write_arrow(self, value: ArrowData, depth: int) -> Any:
        return {TAG: "arrow", "data": self.write_bytes(value.ipc, depth)}


# One table of unbound methods: a lookup by exact type is twice as fast as a chain of isinstance.
_WRITERS: dict[type, Any] = {
    dict: Tagger.write_dict,
    list: Tagger.write_list,
    int: Tagger.write_int,
    float: Tagger.write_float,
    bytes: Tagger.write_bytes,
    tuple: Tagger.write_tuple,
    set: Tagger.write_set,
    frozenset: Tagger.write_set,
    datetime: Tagger.write_datetime,
    date: Tagger.write_date,
    Tensor: Tagger.write_tensor,
    ArrowData: Tagger.write_arrow,
}


def int_to_text(value: int) -> str:
    """Return decimal text of an integer of up to about 4,300 digits.

    Raises:
        BridgeError: `limit_exceeded` above Python's own limit for such conversions.
    """
    try:
        return str(value)
    except ValueError:
        text = f"an integer of {value.bit_length()} bits is too long to be written in decimal digits"
        raise BridgeError("limit_exceeded", text) from None


def _malformed(tag: object) -> BridgeError:
    if isinstance(tag, str) and tag in _READERS:
        wanted = ", ".join(_READERS[tag][0])
        return BridgeError("protocol_error", f'an object with "$type": "{tag}" is malformed; it has exactly {wanted}')
    known = ", ".join(_READERS)
    return BridgeError("protocol_error", f'an object has "$type": {tag!r}; known are {known} (a map is escaped by map)')


class Untagger:
    """Rewrites what orjson read into values, in place where nothing changes."""

    __slots__ = ("attachments", "limits")

    def __init__(self, limits: Limits, attachments: list[bytes]) -> None:
        self.limits = limits
        self.attachments = attachments

    def value(self, value: Any, depth: int) -> Any:
        kind = type_of(value)
        if kind is dict:
            if TAG in value:
                return self._tagged(value, depth)
            self._check(value, depth)
            for key, item in value.items():
                if type(item) in (dict, list):
                    value[key] = self.value(item, depth + 1)
        elif kind is list:
            self._check(value, depth)
            for index, item in enumerate(value):
                if type(item) in (dict, list):
                    value[index] = self.value(item, depth + 1)
        return value

    def _check(self, items: Any, depth: int) -> None:
        self.limits.check_depth(depth)
        self.limits.check_items(len(items))

    def _tagged(self, value: dict[str, Any], depth: int) -> Any:
        tag = value[TAG]
        members, read = _READERS.get(tag, _UNKNOWN) if isinstance(tag, str) else _UNKNOWN
        if len(value) != len(members) + 1 or any(member not in value for member in members):
            raise _malformed(tag)
        return read(self, *[value[member] for member in members], depth=depth)

    def read_int(self, text: object, depth: int) -> int:
        digits = text.removeprefix("-") if isinstance(text, str) else ""
        if not isinstance(text, str) or not (digits.isascii() and digits.isdigit()):
            raise _malformed("int")
        try:
            return int(text)
        except ValueError:
            raise BridgeError("limit_exceeded", f"an integer of {len(digits)} digits is too long") from None

    def read_float(self, text: object, depth: int) -> float:
        if text not in ("nan", "inf", "-inf"):
            raise _malformed("float")
        return float(str(text))

    def read_bytes(self, text: object, depth: int) -> bytes:
        if not isinstance(text, str):
            raise _malformed("bytes")
        try:
            return b64decode(text, validate=True)
        except ValueError:  # binascii.Error is one
            raise _malformed("bytes") from None

    def _items(self, tag: str, items: object, depth: int) -> list[Any]:
        if not isinstance(items, list):
            raise _malformed(tag)
        return self.value(cast("list[Any]", items), depth)

    def read_tuple(self, items: object, depth: int) -> tuple[Any, ...]:
        return tuple(self._items("tuple", items, depth))

    def read_set(self, items: object, depth: int) -> frozenset[Any]:
        return read_set(self._items("set", items, depth))

    def read_datetime(self, text: object, depth: int) -> datetime:
        return read_datetime(text)

    def read_date(self, text: object, depth: int) -> date:
        return read_date(text)

    def _data(self, tag: str, value: object) -> bytes:
        """Read BYTES: a bytes value or an attachment."""
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            if members.get(TAG) in ("bytes", "attachment"):
                return self._tagged(members, 0)
        raise _malformed(tag)

    def read_tensor(self, dtype: object, shape: object, data: object, depth: int) -> Tensor:
        return read_tensor(dtype, shape, self._data("tensor", data))

    def read_arrow(self, data: object, depth: int) -> ArrowData:
        return ArrowData(self._data("arrow", data), self.limits.max_table_bytes)

    def read_attachment(self, part: object, depth: int) -> bytes:
        return read_attachment(self.attachments, part)

    def read_map(self, entries: object, depth: int) -> dict[str, Any]:
        if not isinstance(entries, list):
            raise _malformed("map")
        pairs = cast("list[Any]", entries)
        self._check(pairs, depth)
        result: dict[str, Any] = {}
        for pair in pairs:
            if not is_pair(pair):
                raise _malformed("map")
            result[pair[0]] = self.value(pair[1], depth + 1)
        if len(result) != len(pairs):
            raise BridgeError("protocol_error", "a map has the same key twice")
        return result


def is_pair(value: Any) -> bool:
    """Whether `value` is an entry of an escaped map: a list of text and any value."""
    if type(value) is not list:
        return False
    items = cast("list[Any]", value)
    return len(items) == 2 and type(items[0]) is str


_UNKNOWN: tuple[tuple[str, ...], Any] = (("a table of known tags",), None)
_READERS: dict[str, tuple[tuple[str, ...], Any]] = {
    "int": (("value",), Untagger.read_int),
    "float": (("value",), Untagger.read_float),
    "bytes": (("base64",), Untagger.read_bytes),
    "tuple": (("items",), Untagger.read_tuple),
    "set": (("items",), Untagger.read_set),
    "datetime": (("value",), Untagger.read_datetime),
    "date": (("value",), Untagger.read_date),
    "tensor": (("dtype", "shape", "data"), Untagger.read_tensor),
    "arrow": (("data",), Untagger.read_arrow),
    "attachment": (("part",), Untagger.read_attachment),
    "map": (("entries",), Untagger.read_map),
}

__all__ = ["TAG", "Tagger", "Untagger"]
