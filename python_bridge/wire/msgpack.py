"""Values as MessagePack, on the msgpack library, with the ext types of protocol 1."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, cast

import msgpack as _msgpack  # pyright: ignore[reportMissingTypeStubs]

from python_bridge.errors import BridgeError
from python_bridge.wire.values import (
    DEFAULT_LIMITS,
    MSGPACK_ATTACHMENT_BYTES,
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

EXT_INT, EXT_TUPLE, EXT_SET, EXT_DATETIME, EXT_DATE, EXT_TENSOR, EXT_ARROW, EXT_ATTACHMENT = range(1, 9)
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
msgpack: Any = _msgpack  # the library has no types
_AS_IT_IS = frozenset({str, bool, float, type(None)})


def encode(value: Any, limits: Limits = DEFAULT_LIMITS, attachments: list[bytes] | None = None) -> bytes:
    """Return `value` as MessagePack.

    Args:
        attachments: takes byte strings above `limits.attachment_bytes`; ``None`` keeps all of them inline.

    Raises:
        BridgeError: `invalid_input` for what is not in the value model, `limit_exceeded`.
    """
    return _pack(_Lower(limits, attachments).value(value, 1))


def decode(body: bytes, limits: Limits = DEFAULT_LIMITS, attachments: list[bytes] | None = None) -> Any:
    """Return the value of MessagePack.

    Raises:
        BridgeError: `protocol_error` for what is no MessagePack, has bytes after it, repeats a key or has an
            unknown ext type; `limit_exceeded`.
    """
    return _Reader(limits, attachments or []).read(body)


def _pack(value: Any) -> bytes:
    try:
        return cast("bytes", msgpack.packb(value, use_bin_type=True))
    except UnicodeEncodeError:
        raise BridgeError("invalid_input", "a text has lone surrogates, which are no UTF-8; send bytes") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise BridgeError("invalid_input", f"a value cannot be written as MessagePack: {error}") from None


class _Lower:
    """Rewrites values into what the msgpack library writes; ext types are packed from the inside out."""

    __slots__ = ("attachments", "limits")

    def __init__(self, limits: Limits, attachments: list[bytes] | None) -> None:
        self.limits = limits
        self.attachments = attachments

    def value(self, value: Any, depth: int) -> Any:
        kind = type_of(value)
        if kind in _AS_IT_IS:
            return value
        if (lower := _LOWER.get(kind)) is not None:
            return lower(self, value, depth)
        return self.value(to_model(value), depth)

    def lower_items(self, items: Any, depth: int) -> list[Any]:
        self.limits.check_depth(depth)
        self.limits.check_items(len(items))
        return [self.value(item, depth + 1) for item in items]

    def lower_map(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        self.limits.check_depth(depth)
        self.limits.check_items(len(value))
        if any(type(key) is not str for key in value):
            value = text_keys(value)
        return {key: self.value(item, depth + 1) for key, item in value.items()}

    def lower_int(self, value: int, depth: int) -> Any:
        if _MIN_INT <= value <= _MAX_INT:
            return value
        magnitude = value if value >= 0 else -value - 1
        return msgpack.ExtType(EXT_INT, value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True))

    def lower_bytes(self, value: bytes, depth: int) -> Any:
        attachments = self.attachments
        if attachments is None or not self.limits.attaches(value, attachments, MSGPACK_ATTACHMENT_BYTES):
            return value
        attachments.append(value)
        return msgpack.ExtType(EXT_ATTACHMENT, _pack(len(attachments)))

    def lower_tuple(self, value: tuple[Any, ...], depth: int) -> Any:
        return msgpack.ExtType(EXT_TUPLE, _pack(self.lower_items(value, depth)))

    def lower_set(self, value: frozenset[Any], depth: int) -> Any:
        return msgpack.ExtType(EXT_SET, _pack(self.lower_items(value, depth)))

    def lower_datetime(self, value: datetime, depth: int) -> Any:
        return msgpack.ExtType(EXT_DATETIME, write_datetime(value).encode("ascii"))

    def lower_date(self, value: date, depth: int) -> Any:
        return msgpack.ExtType(EXT_DATE, value.isoformat().encode("ascii"))

    def lower_tensor(self, value: Tensor, depth: int) -> Any:
        return msgpack.ExtType(EXT_TENSOR, _pack([value.dtype, list(value.shape), self.lower_bytes(value.data, depth)]))

    def lower_arrow(self, value: ArrowData, depth: int) -> Any:
        return msgpack.ExtType(EXT_ARROW, _pack(self.lower_bytes(value.ipc, depth)))


_LOWER: dict[type, Any] = {
    dict: _Lower.lower_map,
    list: _Lower.lower_items,
    int: _Lower.lower_int,
    bytes: _Lower.lower_bytes,
    tuple: _Lower.lower_tuple,
    set: _Lower.lower_set,
    frozenset: _Lower.lower_set,
    datetime: _Lower.lower_datetime,
    date: _Lower.lower_date,
    Tensor: _Lower.lower_tensor,
    ArrowData: _Lower.lower_arrow,
}


def _read_map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    if any(type(key) is not str for key, _ in pairs):
        raise BridgeError("protocol_error", "a map has a key that is not text")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BridgeError("protocol_error", "a map has the same key twice")
    return result


class _Reader:
    """Reads one body; ext types are read from the outside in, `nesting` levels of them at most."""

    __slots__ = ("attachments", "limits", "nesting")

    def __init__(self, limits: Limits, attachments: list[bytes]) -> None:
        self.limits = limits
        self.attachments = attachments
        self.nesting = 0

    def read(self, body: bytes) -> Any:
        value = self.unpack(body)
        if len(body) > self.limits.max_depth:  # every level takes a byte
            self._check(value, 1)
        return value

    def unpack(self, body: bytes) -> Any:
        limits = self.limits
        try:
            return msgpack.unpackb(
                body,
                timestamp=3,
                strict_map_key=False,
                ext_hook=self._ext,
                object_pairs_hook=_read_map,
                max_array_len=limits.max_items,
                max_map_len=limits.max_items,
            )
        except msgpack.StackError:
            return limits.check_depth(limits.max_depth + 1)
        except (ValueError, OverflowError) as error:
            if "exceeds max_" in str(error):
                limits.check_items(limits.max_items + 1)
            text = f"a body is no MessagePack: {str(error) or type(error).__name__}"
            raise BridgeError("protocol_error", text) from None

    def _check(self, value: Any, depth: int) -> None:
        kind = type_of(value)
        if kind is dict:
            value = value.values()
        elif kind is not list and kind is not tuple and kind is not frozenset:
            return
        self.limits.check_depth(depth)
        for item in value:
            self._check(item, depth + 1)

    def _ext(self, code: int, payload: bytes) -> Any:
        if (read := _EXT.get(code)) is None:
            text = f"a value has the MessagePack ext type {code}; known are -1 and 1 to {EXT_ATTACHMENT}"
            raise BridgeError("protocol_error", text)
        self.nesting += 1
        self.limits.check_depth(self.nesting)
        value = read(self, bytes(payload))
        self.nesting -= 1
        return value

    def list_in(self, payload: bytes) -> list[Any]:
        value = self.unpack(payload)
        if type(value) is not list:
            raise BridgeError("protocol_error", "an ext value of MessagePack holds no array where one belongs")
        return cast("list[Any]", value)

    def bytes_in(self, payload: bytes) -> bytes:
        value = self.unpack(payload)
        if type(value) is not bytes:
            raise BridgeError("protocol_error", "an ext value of MessagePack holds no bytes where these belong")
        return value

    def tensor_in(self, payload: bytes) -> Tensor:
        parts = self.list_in(payload)
        return read_tensor(*parts) if len(parts) == 3 else read_tensor(None, None, None)


def _read_int(payload: bytes) -> int:
    if not payload:
        raise BridgeError("protocol_error", "an integer of MessagePack ext type 1 has no bytes")
    return int.from_bytes(payload, "big", signed=True)


def _read_text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace")


_EXT: dict[int, Callable[[_Reader, bytes], Any]] = {
    EXT_INT: lambda reader, payload: _read_int(payload),
    EXT_TUPLE: lambda reader, payload: tuple(reader.list_in(payload)),
    EXT_SET: lambda reader, payload: read_set(reader.list_in(payload)),
    EXT_DATETIME: lambda reader, payload: read_datetime(_read_text(payload)),
    EXT_DATE: lambda reader, payload: read_date(_read_text(payload)),
    EXT_TENSOR: lambda reader, payload: reader.tensor_in(payload),
    EXT_ARROW: lambda reader, payload: ArrowData(reader.bytes_in(payload), reader.limits.max_table_bytes),
    EXT_ATTACHMENT: lambda reader, payload: read_attachment(reader.attachments, reader.unpack(payload)),
}

__all__ = ["decode", "encode"]
