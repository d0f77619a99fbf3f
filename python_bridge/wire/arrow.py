"""Arrow tables as IPC streams. pyarrow is imported when the first table is met."""

from importlib import import_module
from typing import Any

from python_bridge.errors import BridgeError


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


def read_table(ipc: bytes) -> Any:
    """Return the `pyarrow.Table` of an Arrow IPC stream; it lies on the same bytes.

    Raises:
        BridgeError: `invalid_input` when the bytes are no such stream.
    """
    arrow = _pyarrow()
    try:
        with arrow.ipc.open_stream(arrow.py_buffer(ipc)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (arrow.ArrowException, OSError) as error:
        raise BridgeError("invalid_input", f"the bytes are no Arrow IPC stream: {error}") from None
    return table


__all__ = ["read_table", "write_table"]
