"""Bodies: their encoding is told by the first byte, and large values become attachments."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.errors import BridgeError
from python_bridge.wire.codec import ENCODINGS, decode_body, encode_body, encoding_of
from python_bridge.wire.multipart import join_parts, split_parts
from python_bridge.wire.values import (
    JSON_ATTACHMENT_BYTES,
    MSGPACK_ATTACHMENT_BYTES,
    ArrowData,
    Limits,
    Tensor,
)

pytestmark = pytest.mark.req("FR2.2.2")


def kind_of(act: Any) -> str:
    with pytest.raises(BridgeError) as caught:
        act()
    return caught.value.kind


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_large_bytes_tensors_and_tables_become_attachments_by_themselves(encoding: Any) -> None:
    large = bytes(range(256)) * 300
    value = {"a": large, "t": Tensor("u8", (len(large),), large), "w": ArrowData(large), "small": b"x", "twice": large}
    body = encode_body(value, encoding)
    assert body[0] == 1
    parts = split_parts(body)
    assert len(parts) == 5
    assert len(parts[0]) < 1000
    assert decode_body(body) == (value, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_threshold_of_attachments_can_be_set(encoding: Any) -> None:
    assert encode_body({"a": b"12345"}, encoding, Limits(attachment_bytes=4))[0] == 1
    assert encode_body({"a": b"12345"}, encoding, Limits(attachment_bytes=5))[0] != 1


@pytest.mark.req("FR2.2.2")
def test_without_a_setting_the_threshold_is_that_of_the_encoding() -> None:
    for encoding, threshold in (("json", JSON_ATTACHMENT_BYTES), ("msgpack", MSGPACK_ATTACHMENT_BYTES)):
        assert encode_body({"a": b"x" * threshold}, encoding)[0] != 1
        assert encode_body({"a": b"x" * (threshold + 1)}, encoding)[0] == 1


def test_what_a_body_cannot_count_any_more_stays_inline() -> None:
    value = {"a": [b"xx"] * 65_536}
    for encoding in ENCODINGS:
        body = encode_body(value, encoding, Limits(attachment_bytes=1))
        assert len(split_parts(body)) == 65_535
        assert decode_body(body)[0] == value


def test_an_attachment_may_be_pointed_to_twice_or_not_at_all() -> None:
    envelope = b'{"a":{"$type":"attachment","part":2},"b":[{"$type":"attachment","part":2}]}'
    assert decode_body(join_parts([envelope, b"unused", b"used"])) == ({"a": b"used", "b": [b"used"]}, "json")


@pytest.mark.parametrize("first", [0x00, 0x02, 0x20, 0x5B, 0x90, 0xC0, 0xFF])
def test_a_body_of_an_unknown_encoding_is_a_protocol_error(first: int) -> None:
    assert kind_of(lambda: decode_body(bytes([first, 0, 0]))) == "protocol_error"
    assert encoding_of(bytes([first])) is None


def test_a_multipart_envelope_inside_multipart_is_refused() -> None:
    inner = join_parts([b"{}"])
    assert kind_of(lambda: decode_body(join_parts([inner]))) == "protocol_error"
    assert kind_of(lambda: decode_body(join_parts([b""]))) == "protocol_error"


@given(parts=st.lists(st.binary(), min_size=1, max_size=6))
def test_parts_round_trip_and_every_other_length_is_malformed(parts: list[bytes]) -> None:
    body = join_parts(parts)
    assert split_parts(body) == parts
    for end in range(len(body)):
        assert kind_of(lambda end=end: split_parts(body[:end])) == "protocol_error"
    assert kind_of(lambda: split_parts(body + b"x")) == "protocol_error"


def test_a_multipart_body_without_parts_is_malformed() -> None:
    assert kind_of(lambda: split_parts(b"\x01\x00\x00")) == "protocol_error"


def test_more_attachments_than_a_body_can_count_are_refused() -> None:
    assert kind_of(lambda: join_parts([b""] * 65_536)) == "limit_exceeded"
