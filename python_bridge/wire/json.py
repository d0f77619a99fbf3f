"""Values as JSON, on orjson.

Most values are plain JSON, and for them orjson does all the work: a value is walked in Python only when it holds
something that JSON lacks, or may hold it. What must be found without a walk is found in the bytes.
"""

from itertools import accumulate
from math import inf, isfinite
from typing import Any

import orjson

from python_bridge.errors import BridgeError
from python_bridge.wire.json_tags import TAG, Tagger, Untagger
from python_bridge.wire.values import DEFAULT_LIMITS, Limits, type_of

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_TAG_BYTES = b'"$type"'
# A single byte is found seven times as fast as bytes are, and most bodies hold none of these.
_DOLLAR, _BACKSLASH, _BRACKET = b"$\\["
_PLAIN = frozenset({str, int, bool, type(None)})
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")
_STRUCTURE_A_LEVEL = 3  # the tag of a map, {"$type":…,"entries":[[…]]}, takes three levels of JSON for one of values


def encode(value: Any, limits: Limits = DEFAULT_LIMITS, attachments: list[bytes] | None = None) -> bytes:
    """Return `value` as JSON with `$type` tags.

    Args:
        attachments: takes byte strings above `limits.attachment_bytes`; ``None`` keeps all of them inline.

    Raises:
        BridgeError: `invalid_input` for what is not in the value model, `limit_exceeded`.
    """
    try:
        body = orjson.dumps(value, option=_OPTIONS)
    except TypeError:  # orjson's JSONEncodeError is one
        return _encode_tagged(value, limits, attachments)
    flat = _BRACKET not in body and body.find(b"null") < 0 and (_DOLLAR not in body or _TAG_BYTES not in body)
    # Each level takes two brackets, so that a short body cannot be deep.
    if flat and (len(body) <= 2 * limits.max_depth or body.count(b"{") <= limits.max_depth):
        if len(body) > limits.max_items:  # it may hold a map that is too large
            return _encode_tagged(value, limits, attachments)
        return body
    return body if _is_plain(value, limits, 1) else _encode_tagged(value, limits, attachments)


def decode(body: bytes, limits: Limits = DEFAULT_LIMITS, attachments: list[bytes] | None = None) -> Any:
    """Return the value of JSON with `$type` tags.

    Raises:
        BridgeError: `protocol_error` for what is no JSON, repeats a key or has a wrong tag; `limit_exceeded`.
    """
    tagged = (_DOLLAR in body and _TAG_BYTES in body) or (_BACKSLASH in body and b"\\u" in body)
    if len(body) > 2 * limits.max_depth and body.count(b"[") + body.count(b"{") > limits.max_depth:
        limits.check_depth(_least_depth(_depth(body), tagged))
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BridgeError("protocol_error", f"a body is no JSON: {error}") from None
    kept = orjson.dumps(value)  # orjson drops all but the last of equal keys: there are fewer colons then
    if kept != body and body.count(b":") != kept.count(b":"):
        _refuse_repeated_keys(body, kept)
    if tagged or (len(body) > limits.max_items and body.count(b",") >= limits.max_items):
        return Untagger(limits, attachments or []).value(value, 1)
    return value


def _least_depth(structure: int, tagged: bool) -> int:
    """How many levels of values lie at least in so many levels of JSON; a tensor at the bottom takes two of them."""
    return structure if not tagged else -((2 - structure) // _STRUCTURE_A_LEVEL)


def _depth(body: bytes) -> int:
    """Return the levels of brackets outside of strings, without building anything."""
    brackets = _outside_strings(body).translate(_STEPS, _NOT_STRUCTURE)
    return max(accumulate(memoryview(brackets).cast("b")), default=0)


def _outside_strings(body: bytes) -> bytes:
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(body.split(b'"')[::2])


def _refuse_repeated_keys(body: bytes, kept: bytes) -> None:
    """Compare the colons read with the colons kept where strings do not count."""
    if _outside_strings(body).count(b":") != _outside_strings(kept).count(b":"):
        raise BridgeError("protocol_error", "a JSON object has the same key twice")


def _is_plain(value: Any, limits: Limits, depth: int) -> bool:
    """Whether orjson writes `value` as the wire wants it; what it cannot write at all counts as plain."""
    kind = type_of(value)
    if kind in _PLAIN:
        return True
    if kind is float:
        return value == value and value not in (inf, -inf)
    if kind is dict:
        if TAG in value or depth > limits.max_depth or len(value) > limits.max_items:
            return False
        return _all_plain(value.values(), limits, depth + 1)
    if kind is list:
        if depth > limits.max_depth or len(value) > limits.max_items:
            return False
        return _all_plain(value, limits, depth + 1)
    return False


def _all_plain(items: Any, limits: Limits, depth: int) -> bool:
    kinds = set(map(type, items))
    if kinds <= _PLAIN:
        return True
    if kinds == {float}:  # a sum is finite only if all of it is; when it overflows the slower way finds out
        return isfinite(sum(items))
    return all(_is_plain(item, limits, depth) for item in items)


def _encode_tagged(value: Any, limits: Limits, attachments: list[bytes] | None) -> bytes:
    tagged = Tagger(limits, attachments).value(value, 1)
    try:
        return orjson.dumps(tagged)
    except TypeError as error:
        if "surrogates" in str(error):
            raise BridgeError("invalid_input", "a text has lone surrogates, which are no UTF-8; send bytes") from None
        raise BridgeError("invalid_input", f"a value cannot be written as JSON: {error}") from None


__all__ = ["decode", "encode"]
