"""Tables as lists of rows: what they would become is known before a row is made."""

import struct
import tracemalloc
from typing import Any

import pyarrow
import pytest

from python_bridge.engine.inputs import InputChecker
from python_bridge.engine.signatures.build import build_signature
from python_bridge.engine.signatures.spec import spec_from_text
from python_bridge.engine.tables import table_rows
from python_bridge.errors import BridgeError
from python_bridge.wire.arrow import write_table
from python_bridge.wire.values import ArrowData

pytestmark = pytest.mark.req("FR1.2.4", "FR2.2.2", "NFR2.2.2")

MANY = 1_000_000
TEXT = "a" * 1_000_000


def repeated(dictionary: Any, times: int = MANY) -> Any:
    indices = pyarrow.repeat(pyarrow.scalar(0, "int8"), times)
    return pyarrow.DictionaryArray.from_arrays(indices, dictionary)


def views_of_one_text(times: int) -> Any:
    data = TEXT.encode()
    view = struct.pack("<i4sii", len(data), data[:4], 0, 0)
    buffers = [None, pyarrow.py_buffer(view * times), pyarrow.py_buffer(data)]
    return pyarrow.Array.from_buffers(pyarrow.string_view(), times, buffers)


def lists_of_nothing(length: int) -> Any:
    offsets = pyarrow.array([0, length], pyarrow.int64())
    return pyarrow.LargeListArray.from_arrays(offsets, pyarrow.nulls(length))


HUGE = {
    "a long text named a million times": lambda: repeated(pyarrow.array([TEXT])),
    "a long byte string named a million times": lambda: repeated(pyarrow.array([b"a" * 1000], pyarrow.large_binary())),
    "a list named a million times": lambda: repeated(pyarrow.array([[1] * 100])),
    "a text in a struct": lambda: pyarrow.StructArray.from_arrays([repeated(pyarrow.array([TEXT]))], ["t"]),
    "a text in a list": lambda: pyarrow.ListArray.from_arrays([0, MANY], repeated(pyarrow.array([TEXT]))),
    "views of one text": lambda: views_of_one_text(1000),
    "a list of a hundred million nulls": lambda: lists_of_nothing(100_000_000),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in HUGE.items()])
def test_a_table_that_grows_as_rows_is_refused_before_it_does(make: Any) -> None:
    table = pyarrow.table({"x": make()})
    tracemalloc.start()
    try:
        with pytest.raises(BridgeError, match="bytes as a list of rows") as caught:
            table_rows("rows", table)
        assert tracemalloc.get_traced_memory()[1] < 32_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.kind == "limit_exceeded"


def test_an_input_that_grows_as_rows_is_a_limit_and_no_wrong_value() -> None:
    checker = InputChecker(build_signature(spec_from_text("x: list[dict[str, Any]] -> y", None, {})))
    table = pyarrow.table({"x": repeated(pyarrow.array([TEXT]))})
    with pytest.raises(BridgeError, match="the input `x`") as caught:
        checker.check({"x": ArrowData(write_table(table))})
    assert caught.value.kind == "limit_exceeded"


def test_columns_whose_rows_may_overlap_are_refused() -> None:
    listed = pyarrow.ListViewArray.from_arrays([0] * 3, [3] * 3, pyarrow.array([1, 2, 3]))
    runs = pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([MANY], pyarrow.int32()), pyarrow.array([TEXT]))
    union = pyarrow.UnionArray.from_dense(
        pyarrow.array([0, 0], pyarrow.int8()), pyarrow.array([0, 0], pyarrow.int32()), [pyarrow.array([TEXT])]
    )
    for column in (listed, runs, union):
        with pytest.raises(BridgeError, match="the column `x` has the type") as caught:
            table_rows("rows", pyarrow.table({"x": column}))
        assert caught.value.kind == "invalid_input"


def test_tables_of_every_plain_type_become_rows() -> None:
    table = pyarrow.table(
        {
            "n": [1, None, 3],
            "text": ["a", None, "ccc"],
            "view": pyarrow.array(["a", None, "c" * 20], pyarrow.string_view()),
            "wide": pyarrow.array(["a", None, "c"], pyarrow.large_string()),
            "fixed": pyarrow.array([b"ab", None, b"cd"], pyarrow.binary(2)),
            "coded": pyarrow.array(["a", None, "a"]).dictionary_encode(),
            "list": [[1], None, []],
            "pair": pyarrow.array([[1, 2], None, [3, 4]], pyarrow.list_(pyarrow.int8(), 2)),
            "map": pyarrow.array([[("k", 1)], None, []], pyarrow.map_(pyarrow.string(), pyarrow.int8())),
            "struct": [{"a": 1}, None, {"a": 2}],
            "null": pyarrow.nulls(3),
        }
    )
    for part in (table, table.slice(1), table.slice(1, 1), table.slice(0, 0)):
        assert table_rows("rows", part) == part.to_pylist()
