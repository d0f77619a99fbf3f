"""What compressed Arrow tables inflate to is known, and bounded, before anything is inflated."""

import tracemalloc
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_bridge.errors import BridgeError
from python_bridge.wire import json, msgpack
from python_bridge.wire.arrow_size import decoded_bytes
from python_bridge.wire.values import ArrowData, Limits

pytestmark = pytest.mark.req("FR1.2.4", "FR2.2.2", "NFR2.2.2")

TABLE = pyarrow.table({"n": [0] * 1000, "text": pyarrow.array(["a" * 1000] * 1000).dictionary_encode()})
COMPRESSIONS = ("zstd", "lz4")


def stream(table: Any, compression: str | None) -> bytes:
    sink = pyarrow.BufferOutputStream()
    options = pyarrow.ipc.IpcWriteOptions(compression=compression)
    with pyarrow.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write(table)
    return sink.getvalue().to_pybytes()


def size(ipc: bytes) -> int:
    return decoded_bytes(pyarrow, pyarrow.py_buffer(ipc))


def outcome(ipc: bytes) -> str:
    try:
        ArrowData(ipc, 100_000_000).to_table()
    except BridgeError as error:
        return error.kind
    return "read"


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("wire", [pytest.param(json, id="json"), pytest.param(msgpack, id="msgpack")])
def test_a_compressed_table_is_read_up_to_the_limit_and_refused_above_it(wire: Any, compression: str) -> None:
    ipc = stream(TABLE, compression)
    body = wire.encode(ArrowData(ipc))
    assert wire.decode(body, Limits(max_table_bytes=size(ipc))).to_table().equals(TABLE)
    with pytest.raises(BridgeError, match="max_table_bytes") as caught:
        wire.decode(body, Limits(max_table_bytes=size(ipc) - 1)).to_table()
    assert (caught.value.kind, caught.value.details) == ("limit_exceeded", {"limit": "max_table_bytes"})


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_columns_dictionaries_and_every_batch_count(compression: str) -> None:
    one = size(stream(TABLE.select(["n"]), compression))
    assert 8 * 1000 <= one < 8 * 1000 + 1000
    assert size(stream(TABLE, compression)) >= one + 4 * 1000 + 1000
    twice = pyarrow.concat_tables([TABLE.select(["n"]), TABLE.select(["n"])])
    assert size(stream(twice, compression)) == 2 * one


def test_a_table_that_is_not_compressed_lies_on_its_bytes_and_has_no_limit() -> None:
    ipc = stream(TABLE, None)
    assert size(ipc) == 0
    assert ArrowData(ipc, 0).to_table().equals(TABLE)


def test_a_few_kilobytes_that_stand_for_many_megabytes_take_no_memory_when_it_is_refused() -> None:
    zeros = pyarrow.table({"n": pyarrow.array([0] * 100_000, pyarrow.int64())})
    ipc = stream(pyarrow.concat_tables([zeros] * 20), "zstd")
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(BridgeError, match="16000000 bytes when it is read"):
            ArrowData(ipc, 10_000_000).to_table()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert pyarrow.total_allocated_bytes() - before < 1_000_000


@settings(max_examples=300)
@given(st.sampled_from(COMPRESSIONS), st.data())
def test_changed_and_cut_streams_are_read_or_refused_as_bad_input(compression: str, data: st.DataObject) -> None:
    ipc = bytearray(stream(TABLE, compression))
    for _ in range(data.draw(st.integers(0, 3))):
        ipc[data.draw(st.integers(0, len(ipc) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(ipc), data.draw(st.integers(0, len(ipc)))]))
    assert outcome(bytes(ipc[:cut])) in ("read", "invalid_input", "limit_exceeded")
