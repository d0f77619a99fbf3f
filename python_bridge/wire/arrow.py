"""Arrow tables as IPC streams. pyarrow is imported when the first table is met."""

from importlib import import_module
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.wire.arrow_size import decoded_bytes


def _pyarrow() -> Any:
    try:
        import_module("pyarrow.ipc")
        return import_module("pyarrow")
    except ImportError:
        text = "Arrow tables need pyarrow, which is not installed; run: pip install 'python-bridge[arrow]'"
        raise BridgeError("unavailable", text, retryable=False) from None


def write_table(table: Any) -> bytes:
    """Return a `pyarrow.Table` or `RecordBatch` as an Arrow IPC stream."""
    arrow = _pyarrow()
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return sink.getvalue().to_pybytes()


def read_table(ipc: bytes, max_bytes: int) -> Any:
    """Return the `pyarrow.Table` of an Arrow IPC stream; it lies on the same bytes, where they are not compressed.

    Args:
        max_bytes: what the compressed parts may become together.

    Raises:
        BridgeError: `invalid_input` when the bytes are no such stream, `limit_exceeded` above `max_bytes`.
    """
    arrow = _pyarrow()
    buffer = arrow.py_buffer(ipc)
    try:
        _check_size(decoded_bytes(arrow, buffer), max_bytes)
        with arrow.ipc.open_stream(buffer) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise BridgeError("invalid_input", f"the bytes are no Arrow IPC stream: {error}") from None
    return table


def _check_size(decoded: int, limit: int) -> None:
    if decoded > limit:
        raise BridgeError(
            "limit_exceeded",
            f"a compressed table has {decoded} bytes when it is read, above the limit of {limit} (max_table_bytes); "
            "send it in parts",
            details={"limit": "max_table_bytes"},
        )


__all__ = ["read_table", "write_table"]
