"""The HTTP client: responses in any portions, connections kept, replaced and closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_bridge.engine.lms.http.client import HttpClient
from python_bridge.engine.lms.http.connection import Connection
from python_bridge.engine.lms.http.parser import BadResponse, ResponseParser


def feed(data: bytes, sizes: list[int]) -> tuple[ResponseParser, bytes]:
    parser, body = ResponseParser(), b""
    for size in [*sizes, len(data)]:
        if data:
            parser.feed(data[:size])
            body += parser.take()
            data = data[size:]
    return parser, body


def chunked(body: bytes, sizes: list[int]) -> bytes:
    parts = b""
    for size in [*sizes, len(body)]:
        if piece := body[:size]:
            parts += b"%x;ext=1\r\n%b\r\n" % (len(piece), piece)
        body = body[size:]
    return parts + b"0\r\nX-Trailer: 1\r\n\r\n"


@pytest.mark.anyio
async def test_what_comes_while_the_reader_is_busy_is_read_too() -> None:
    connection = Connection()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none")
    parts = []
    async for part in connection.body():
        parts.append(part)
        if len(parts) < 3:
            connection.data_received((b"two", b"six")[len(parts) - 1])
    assert parts == [b"one", b"two", b"six"]


SIZES = st.lists(st.integers(1, 40), max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), SIZES, SIZES, st.booleans())
def test_a_response_in_any_portions_gives_its_body(
    body: bytes, cuts: list[int], chunks: list[int], is_chunked: bool
) -> None:
    if is_chunked:
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, chunks)
    else:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    parser, read = feed(b"HTTP/1.1 100 Continue\r\n\r\n" + data, cuts)
    assert (read, parser.complete, parser.keep_alive) == (body, True, True)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), SIZES)
def test_any_bytes_give_a_response_or_bad_response(data: bytes, cuts: list[int]) -> None:
    assert outcome(b"HTTP/1.1 200 OK\r\n" + data, cuts)
    assert outcome(data, cuts)


def outcome(data: bytes, cuts: list[int]) -> bool:
    try:
        feed(data, cuts)
    except BadResponse:
        return True
    return True


@pytest.mark.parametrize(
    "data",
    [
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 x OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
    ],
)
def test_what_is_no_response_is_refused(data: bytes) -> None:
    with pytest.raises(BadResponse):
        ResponseParser().feed(data)


def test_the_end_of_the_connection_ends_a_body_without_length_and_breaks_any_other() -> None:
    parser, body = feed(b"HTTP/1.0 200 OK\r\n\r\nabc", [])
    assert (body, parser.complete) == (b"abc", False)
    parser.finish()
    assert (parser.complete, parser.keep_alive) == (True, False)
    broken, _ = feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", [])
    with pytest.raises(BadResponse):
        broken.finish()


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def server(answer: Answering) -> AsyncIterator[HttpClient]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = HttpClient(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/base/")
    try:
        yield client
    finally:
        await client.aclose()
        listening.close()


async def request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def post(client: HttpClient, body: bytes = b"{}") -> bytes:
    async with client.post(client.head("/path", {"a": "b"}), body) as connection:
        return await connection.read(1000)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.anyio
async def test_a_connection_is_kept_for_the_next_request() -> None:
    connections = 0
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while not reader.at_eof():
            seen.append(await request(reader))
            writer.write(OK)

    async with server(answer) as client:
        assert [await post(client) for _ in range(3)] == [b"ok"] * 3
    assert connections == 1
    assert seen[0].startswith(b"POST /base/path HTTP/1.1\r\nhost: 127.0.0.1:")
    assert seen[0].endswith(b"a: b\r\ncontent-length: 2\r\n\r\n{}")


@pytest.mark.anyio
async def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await writer.drain()

    async with server(answer) as client:
        assert [await post(client) for _ in range(3)] == [b"ok"] * 3


@pytest.mark.anyio
async def test_an_answer_above_the_limit_is_refused() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000)

    async with server(answer) as client:
        with pytest.raises(BadResponse, match="larger than 1000"):
            await post(client)


@pytest.mark.anyio
async def test_a_reader_that_does_not_take_stops_the_socket() -> None:
    wrote = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal wrote
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(400):
            writer.write(b"x" * 65_536)
            await writer.drain()
            wrote += 65_536

    async with server(answer) as client, client.post(client.head("/", {}), b"{}") as connection:
        before = -1
        while wrote != before:  # until the server cannot write any more
            before = wrote
            await asyncio.sleep(0.05)
        assert wrote < 400 * 65_536
        size = 0
        async for part in connection.body():
            size += len(part)
        assert size == 400 * 65_536


def test_addresses_and_headers_that_cannot_be_are_refused() -> None:
    for url in ("ftp://x", "nonsense", "http://"):
        with pytest.raises(ValueError, match="URL"):
            HttpClient(url)
    with pytest.raises(ValueError, match="line end"):
        HttpClient("http://x").head("/", {"authorization": "Bearer a\nb"})
