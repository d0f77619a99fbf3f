"""Values in JSON and MessagePack: golden vectors and the round trip."""

import enum
import math
import uuid
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy
import pyarrow
import pytest
from golden import described, same, vectors
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.errors import BridgeError
from python_bridge.wire import codec, json, msgpack
from python_bridge.wire.values import ArrowData, Limits, Tensor

pytestmark = pytest.mark.req("FR1.2.4", "FR2.2.1", "FR2.2.2")
OUTCOMES = ("value", "protocol_error", "limit_exceeded", "invalid_input")
CODECS = [pytest.param(json, id="json"), pytest.param(msgpack, id="msgpack")]

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**220), 2**220),
    st.floats(),
    st.text(),
    st.binary(),
    st.datetimes(timezones=st.one_of(st.none(), offsets)),
    st.dates(),
    st.binary(max_size=12).map(lambda data: Tensor("u8", (len(data), 1), data)),
    st.binary(max_size=12).map(ArrowData),
)
hashable = st.recursive(
    st.one_of(st.none(), st.text(), st.binary(), st.dates(), st.integers(2, 2**100)),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
keys = st.one_of(st.text(), st.sampled_from(["$type", "value", "items"]))
values = st.recursive(
    st.one_of(scalars, st.frozensets(hashable, max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
    ),
    max_leaves=20,
)


def kind_of(act: Any) -> str:
    with pytest.raises(BridgeError) as caught:
        act()
    return caught.value.kind


def outcome(act: Any) -> str:
    try:
        act()
    except BridgeError as error:
        return error.kind
    return "value"


@pytest.mark.parametrize("case", vectors("values.json"))
def test_a_golden_value_is_written_in_a_listed_form(case: dict) -> None:
    value = described(case["value"])
    written = json.encode(value)
    assert case.get("json_any_form") or written.decode() in case["json"]
    assert same(json.decode(written), value)
    assert msgpack.encode(value).hex() in case["msgpack"]


@pytest.mark.parametrize("case", vectors("values.json"))
def test_every_listed_form_reads_as_the_golden_value(case: dict) -> None:
    value = described(case["value"])
    for text in case["json"] + case.get("json_reads", []):
        assert same(json.decode(text.encode()), value)
    for text in case["msgpack"] + case.get("msgpack_reads", []):
        assert same(msgpack.decode(bytes.fromhex(text)), value)


@pytest.mark.parametrize("case", vectors("values.json", "invalid"))
def test_an_invalid_golden_body_gives_its_kind_of_error(case: dict) -> None:
    if "json" in case:
        assert kind_of(lambda: json.decode(case["json"].encode())) == case["error"]
    if "msgpack" in case:
        assert kind_of(lambda: msgpack.decode(bytes.fromhex(case["msgpack"]))) == case["error"]


@pytest.mark.parametrize("wire", CODECS)
@given(value=values)
def test_a_round_trip_is_the_identity(wire: Any, value: Any) -> None:
    assert same(wire.decode(wire.encode(value)), value)


@given(value=st.dictionaries(keys, values, max_size=4), encoding=st.sampled_from(codec.ENCODINGS))
def test_a_body_with_attachments_round_trips(value: dict, encoding: codec.Encoding) -> None:
    body = codec.encode_body(value, encoding, Limits(attachment_bytes=2))
    assert codec.encoding_of(body) == encoding
    back, used = codec.decode_body(body)
    assert used == encoding
    assert same(back, value)


@given(body=st.binary(min_size=1))
def test_any_bytes_give_a_value_or_a_typed_error(body: bytes) -> None:
    for read in (json.decode, msgpack.decode, codec.decode_body):
        assert outcome(lambda read=read: read(body)) in OUTCOMES


@given(value=values, data=st.data())
def test_a_damaged_body_gives_a_value_or_a_typed_error(value: Any, data: st.DataObject) -> None:
    for wire in (json, msgpack):
        body = bytearray(wire.encode(value))
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
        assert outcome(lambda wire=wire, body=body: wire.decode(bytes(body))) in OUTCOMES


@given(value=values)
def test_every_truncation_of_a_messagepack_value_is_a_protocol_error(value: Any) -> None:
    body = msgpack.encode(value)
    for end in range(len(body)):
        assert kind_of(lambda end=end: msgpack.decode(body[:end])) == "protocol_error"


@pytest.mark.parametrize("wire", CODECS)
@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        object(),
        1j,
        lambda: None,
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(0, 5))),
    ],
    ids=["surrogate", "surrogate key", "integer key", "object", "complex", "function", "offset in seconds"],
)
def test_what_is_no_value_is_refused_when_it_is_sent(wire: Any, value: Any) -> None:
    assert kind_of(lambda: wire.encode({"deep": [value]})) == "invalid_input"


@pytest.mark.parametrize("wire", CODECS)
def test_a_value_that_contains_itself_is_refused(wire: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert kind_of(lambda: wire.encode(loop)) == "limit_exceeded"


@pytest.mark.parametrize("wire", CODECS)
def test_limits_hold_in_both_directions(wire: Any) -> None:
    limits = Limits(max_depth=3, max_items=4)
    deep, wide, widest = [[[[]]]], list(range(5)), {str(n): n for n in range(5)}
    for value in (deep, wide, widest, {"a": wide}, tuple(wide), [[["x", {}]]]):
        assert kind_of(lambda value=value: wire.encode(value, limits)) == "limit_exceeded"
        body = wire.encode(value)
        assert kind_of(lambda body=body: wire.decode(body, limits)) == "limit_exceeded"
    for value in ([[[]]], list(range(4)), {"a": {"b": {"c": 1}}}, [("[[[[", "{{{{")]):
        assert same(wire.decode(wire.encode(value, limits), limits), value)


def test_brackets_colons_and_quotes_in_texts_are_not_taken_for_structure() -> None:
    value = {"a": '{"a":1,"a":2}' + "[" * 200, "b": '\\":' * 5, "\\": '"', "c:": ":", "d": "\\\\"}
    assert json.decode(json.encode(value)) == value


class Colour(enum.Enum):
    RED = "red"


class Name(str):
    __slots__ = ()


class Count(int):
    pass


@pytest.mark.parametrize("wire", CODECS)
def test_python_types_beside_the_model_are_sent_as_what_they_hold(wire: Any) -> None:
    identity = uuid.UUID(int=5)
    value = {
        Name("name"): Name("x"),
        "count": Count(3),
        "map": OrderedDict(b=1, a=2),
        "enum": Colour.RED,
        "uuid": identity,
        "bytes": bytearray(b"ab"),
        "set": {1},
        "scalar": numpy.float64(1.5),
        "integer": numpy.int32(7),
    }
    back = wire.decode(wire.encode(value))
    wanted = {"name": "x", "count": 3, "map": {"b": 1, "a": 2}, "enum": "red", "uuid": str(identity), "bytes": b"ab"}
    assert same(back, {**wanted, "set": frozenset({1}), "scalar": 1.5, "integer": 7})


@pytest.mark.parametrize("wire", CODECS)
@pytest.mark.parametrize("dtype", ["u1", "u8", "i2", "i8", "f2", "f4", "f8", "?", ">f8", ">i4"])
def test_a_numpy_array_arrives_as_an_equal_tensor(wire: Any, dtype: str) -> None:
    array = (numpy.arange(12) % 2).astype(dtype).reshape(3, 4).T
    back = wire.decode(wire.encode(array))
    assert back.shape == (4, 3)
    assert numpy.array_equal(back.to_numpy(), array)
    assert back.to_numpy().dtype == numpy.dtype(dtype).newbyteorder("<")


def test_an_array_of_objects_is_refused() -> None:
    assert kind_of(lambda: json.encode(numpy.array([object()]))) == "invalid_input"


def test_a_bf16_tensor_comes_as_its_bits() -> None:
    assert Tensor("bf16", (1,), b"\x80\x3f").to_numpy().tolist() == [0x3F80]


@pytest.mark.parametrize("wire", CODECS)
def test_an_arrow_table_arrives_equal(wire: Any) -> None:
    table = pyarrow.table({"n": [1, 2, None], "text": ["a", None, "c"]})
    assert wire.decode(wire.encode(table)).to_table().equals(table)
    batch = table.to_batches()[0]
    assert wire.decode(wire.encode(batch)).to_table().to_batches()[0].equals(batch)


def test_bytes_that_are_no_arrow_stream_are_refused_when_they_are_opened() -> None:
    for data in (b"", b"nonsense", pyarrow.table({"a": [1]}).schema.serialize().to_pybytes()[:20]):
        assert kind_of(ArrowData(data).to_table) == "invalid_input"


def test_a_tensor_checks_itself() -> None:
    for parts in (("c64", (), b""), ("u8", (-1,), b""), ("f32", (2,), b"1234")):
        assert kind_of(lambda parts=parts: Tensor(*parts)) == "invalid_input"


def test_an_integer_too_long_for_decimal_digits_is_refused_in_json_and_kept_in_messagepack() -> None:
    value = 10**5000
    assert kind_of(lambda: json.encode(value)) == "limit_exceeded"
    assert kind_of(lambda: json.decode(b'{"$type":"int","value":"1%s"}' % (b"0" * 5000))) == "limit_exceeded"
    assert msgpack.decode(msgpack.encode(value)) == value


def test_a_set_of_lists_cannot_be_held() -> None:
    assert kind_of(lambda: json.decode(b'{"$type":"set","items":[[]]}')) == "invalid_input"


def test_a_timestamp_of_messagepack_reads_as_utc() -> None:
    assert msgpack.decode(bytes.fromhex("d6ff00000001")) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert kind_of(lambda: msgpack.decode(bytes.fromhex("c70cff00000000" + "7f" * 8))) == "protocol_error"


def test_dates_and_floats_that_need_no_tag_still_read_back() -> None:
    for value in ([math.inf, 1.0], [1e308, 1e308], [date(1, 1, 1)]):
        assert same(json.decode(json.encode(value)), value)
