"""Arrow tables as lists of rows, bounded by what they would become before any row is made.

Columns can point to the same bytes many times, so that a small stream stands for terabytes of Python objects.
"""

from importlib import import_module
from typing import Any

from python_bridge.errors import BridgeError

MAX_LIST_BYTES = 256 * 1024 * 1024
_VALUE_BYTES = 8  # the place of one value in a list: the least that any takes


def table_rows(name: str, table: Any) -> list[dict[str, Any]]:
    """Return the rows of a `pyarrow.Table` as maps.

    Args:
        name: the input that the table is for, for errors.

    Raises:
        BridgeError: `limit_exceeded` when the rows would take more than 256 MiB (8 bytes for each value, and the bytes
            of texts), `invalid_input` for columns whose rows may overlap (list views, run-end encoding, dense unions).
    """
    size = sum(_list_bytes(chunk, column) for column, data in _columns(table) for chunk in data.chunks)
    if size > MAX_LIST_BYTES:
        text = f"the input `{name}` is a table that takes {size} bytes as a list of rows, more than {MAX_LIST_BYTES}"
        raise BridgeError("limit_exceeded", f"{text}; send it in parts", details={"limit": "table rows"})
    return table.to_pylist()


def _columns(table: Any) -> list[tuple[str, Any]]:
    return list(zip(table.column_names, table.columns, strict=True))


def _list_bytes(array: Any, column: str) -> int:
    """Return at least what `array.to_pylist()` has to hold, from lengths and offsets alone."""
    types = import_module("pyarrow").types
    kind = array.type
    own = len(array) * _VALUE_BYTES
    if isinstance(array, import_module("pyarrow").ExtensionArray):
        return _list_bytes(array.storage, column)
    if types.is_dictionary(kind):
        return own + _dictionary_bytes(array, column)
    if types.is_struct(kind):
        return own + sum(_list_bytes(array.field(place), column) for place in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        return own + _list_bytes(_items(array), column)
    if types.is_fixed_size_list(kind):
        items = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        return own + _list_bytes(items, column)
    if types.is_fixed_size_binary(kind):
        return own + len(array) * kind.byte_width
    if (lengths := _text_lengths(array)) is not None:
        return own + int(lengths.sum())
    if types.is_nested(kind) or types.is_run_end_encoded(kind):
        text = f"the column `{column}` has the type {kind}, which cannot be read as rows; cast it to a plain one"
        raise BridgeError("invalid_input", text)
    return own


def _items(array: Any) -> Any:
    if len(array) == 0:
        return array.values.slice(0, 0)
    first, last = array.offsets[0].as_py(), array.offsets[len(array)].as_py()
    return array.values.slice(first, last - first)


def _dictionary_bytes(array: Any, column: str) -> int:
    """Return the bytes of the entries that the indices name, each as often as it is named."""
    numpy = import_module("numpy")
    indices = array.indices.drop_null().to_numpy(zero_copy_only=False)
    if (lengths := _text_lengths(array.dictionary)) is not None:
        return int(numpy.asarray(lengths)[indices].sum())
    return len(indices) * _list_bytes(array.dictionary, column)


def _text_lengths(array: Any) -> Any:
    """Return the bytes of each text or byte string as a numpy array, `None` for an array of other things."""
    arrow, numpy = import_module("pyarrow"), import_module("numpy")
    types, kind = arrow.types, array.type
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return _view_lengths(array, numpy)
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        wide = types.is_large_string(kind) or types.is_large_binary(kind)
        if len(array) == 0:
            return numpy.zeros(0, "int64")
        offsets = numpy.frombuffer(array.buffers()[1], "<i8" if wide else "<i4")
        return numpy.diff(offsets[array.offset : array.offset + len(array) + 1].astype("int64"))
    return None


def _view_lengths(array: Any, numpy: Any) -> Any:
    """Return what the views claim; each is 16 bytes, the first four are its length (anything where it is null)."""
    if len(array) == 0:
        return numpy.zeros(0, "int64")
    views = numpy.frombuffer(array.buffers()[1], "<i4")[4 * array.offset : 4 * (array.offset + len(array)) : 4]
    return numpy.maximum(views.astype("int64"), 0)


__all__ = ["MAX_LIST_BYTES", "table_rows"]
