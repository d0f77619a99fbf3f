"""Short bodies take a short way through the JSON codec: what it skips must not have been there to be found."""

import math
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.wire.codec import decode_body, encode_body
from python_bridge.wire.values import Limits

pytestmark = pytest.mark.req("FR2.2.2")
LONG = "x" * 1000


def outcome(act: Any) -> Any:
    try:
        return act()
    except BridgeError as error:
        return error.kind


def padded(text: str) -> bytes:
    """The same body, longer than any short way takes."""
    return (text[:-1] + f',"pad":"{LONG}"}}').encode()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"a":1,"a":2}', "protocol_error"),
        ('{"a":1, "a":1}', "protocol_error"),
        ('{"a":{"b":1,"b":1}}', "protocol_error"),
        ('{"a":{"$type":"what"}}', "protocol_error"),
        ('{"a":{"\\u0024type":"what"}}', "protocol_error"),
        ('{"a":[[[1]]]}', "limit_exceeded"),
        ('{"a":{"b":{"c":{}}}}', "limit_exceeded"),
        ('{"a":[1,2,3,4,5]}', "limit_exceeded"),
        ("{", "protocol_error"),
    ],
)
def test_what_is_refused_in_a_long_body_is_refused_in_a_short_one(text: str, kind: str) -> None:
    limits = Limits(max_depth=3, max_items=4)
    assert outcome(lambda: decode_body(text.encode(), limits)) == kind
    if text != "{":
        assert outcome(lambda: decode_body(padded(text), limits)) == kind


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":{"$type":"tuple","items":[1]}}', {"a": (1,)}),
        ('{"a":{"\\u0024type":"float","value":"inf"}}', {"a": math.inf}),
        ('{"a":"$type","b":"\\u00e9","c":"a:b"}', {"a": "$type", "b": "é", "c": "a:b"}),
        ('{ "a" : [ [ 1.50 ] ] }', {"a": [[1.5]]}),
    ],
)
def test_a_short_body_reads_as_a_long_one(text: str, value: dict[str, Any]) -> None:
    assert decode_body(text.encode())[0] == value
    assert decode_body(padded(text.rstrip()))[0] == {**value, "pad": LONG}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": {"b": {"c": {}}}}, "limit_exceeded"),
        ({"a": [[[1]]]}, "limit_exceeded"),
        ({"a": {str(number): number for number in range(5)}}, "limit_exceeded"),
        ({"a": object()}, "invalid_input"),
    ],
)
def test_what_cannot_be_sent_in_a_long_body_cannot_be_sent_in_a_short_one(value: dict[str, Any], kind: str) -> None:
    limits = Limits(max_depth=3, max_items=4)
    assert outcome(lambda: encode_body(value, "json", limits)) == kind
    assert outcome(lambda: encode_body({**value, "pad": LONG}, "json", limits)) == kind


@pytest.mark.parametrize("value", [(1,), math.nan, {"$type": "x"}, [None, -math.inf], None, {}, b"x", {"a": "null"}])
def test_a_value_comes_back_from_a_short_body_and_from_a_long_one(value: Any) -> None:
    for body in ({"a": value}, {"a": value, "pad": LONG}):
        (back, _encoding) = decode_body(encode_body(body))
        assert repr(back) == repr(body)
