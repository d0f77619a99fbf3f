"""Frames: golden vectors, and properties of the decoder over any bytes and any split."""

import itertools
import time

import pytest
from golden import vectors
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.wire.frames import FrameDecoder, FrameFault, decode_frames, encode_frame

pytestmark = pytest.mark.req("FR2.2.1", "NFR2.2.1")


def shown(event: bytes | FrameFault) -> dict:
    if isinstance(event, bytes):
        return {"frame": event.hex()}
    return {"error": event.kind, "fatal": event.fatal}


def fed(pieces: list[bytes], cap: int) -> tuple[list[bytes | FrameFault], FrameDecoder]:
    decoder = FrameDecoder(cap)
    return [event for piece in pieces for event in decoder.feed(piece)], decoder


@pytest.mark.parametrize("case", vectors("frames.json"))
def test_a_decoder_reads_the_golden_vector_whole_and_byte_by_byte(case: dict) -> None:
    data = bytes.fromhex(case["bytes"])
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        events, decoder = fed(pieces, case["cap"])
        assert [shown(event) for event in events] == case["events"]
        assert decoder.pending_bytes() == case["pending"]


@given(bodies=st.lists(st.binary(min_size=1, max_size=40), max_size=8), cuts=st.lists(st.integers(0, 400), max_size=9))
def test_any_split_of_the_bytes_gives_the_same_frames(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(encode_frame, bodies))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    events, decoder = fed(pieces, 40)
    assert events == bodies
    assert decoder.pending_bytes() == 0


@given(data=st.binary(max_size=300), cut=st.integers(0, 300), cap=st.integers(1, 64))
def test_any_bytes_give_frames_or_typed_errors_however_they_are_split(data: bytes, cut: int, cap: int) -> None:
    whole, decoder = fed([data], cap)
    split, _ = fed([data[:cut], data[cut:]], cap)
    assert whole == split
    assert decoder.pending_bytes() <= max(cap, 3)
    for event in whole:
        assert isinstance(event, FrameFault) or 0 < len(event) <= cap


@given(
    lengths=st.lists(st.one_of(st.integers(0, 100), st.integers(2**29 - 2, 2**32 - 1)), max_size=6), junk=st.binary()
)
def test_frames_of_any_claimed_length_never_store_more_than_arrived(lengths: list[int], junk: bytes) -> None:
    decoder = FrameDecoder(50)
    arrived = 0
    for length in lengths:
        piece = length.to_bytes(4, "big") + junk
        arrived += len(piece)
        decoder.feed(piece)
        assert decoder.pending_bytes() <= min(arrived, 50)


@given(body=st.binary(min_size=1, max_size=60))
def test_every_truncation_of_a_frame_asks_for_more(body: bytes) -> None:
    frame = encode_frame(body)
    for end in range(len(frame)):
        assert list(decode_frames(frame[:end])) == []


def test_a_frame_above_the_cap_is_skipped_and_the_next_one_is_read() -> None:
    decoder = FrameDecoder(8)
    assert [shown(event) for event in decoder.feed(encode_frame(b"x" * 100)[:50])] == [
        {"error": "limit_exceeded", "fatal": False}
    ]
    assert decoder.pending_bytes() == 0
    assert decoder.feed(b"x" * 54 + encode_frame(b"next")) == [b"next"]


def test_nothing_is_read_after_garbage() -> None:
    decoder = FrameDecoder()
    (fault,) = decoder.feed(b"Hello, world")
    assert isinstance(fault, FrameFault)
    assert fault.fatal
    assert "b'Hell'" in fault.message
    assert decoder.closed
    assert decoder.feed(encode_frame(b"{}")) == []


def test_a_fault_becomes_an_error_of_the_closed_set() -> None:
    (fault,) = FrameDecoder(4).feed(encode_frame(b"12345"))
    assert isinstance(fault, FrameFault)
    error = fault.to_error()
    assert error.kind == "limit_exceeded"
    assert "5 bytes" in error.message
    assert "4 bytes" in error.message


def test_a_large_frame_in_many_small_reads_is_not_copied_again_for_each_of_them() -> None:
    def cost(size: int) -> float:
        frame = encode_frame(b"x" * size)
        decoder, piece = FrameDecoder(), 512
        started = time.perf_counter()
        events = [event for at in range(0, len(frame), piece) for event in decoder.feed(frame[at : at + piece])]
        assert [len(event) for event in events if isinstance(event, bytes)] == [size]
        return time.perf_counter() - started

    small = min(cost(1 << 18) for _ in range(5))
    # Sixteen times the bytes: linear work takes 16 times as long, quadratic work 256 times, and more beyond the caches.
    assert any(cost(1 << 22) < small * 200 for _ in range(20))
