"""Writes of one turn of the loop go out as one."""

import asyncio

import pytest

from python_bridge.transports.http.corked import CorkedTransport


class Recorded(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.mark.anyio
@pytest.mark.req("RT-1")
async def test_writes_of_one_turn_are_one_and_keep_their_order() -> None:
    transport = Recorded()
    corked = CorkedTransport(transport, asyncio.get_running_loop())
    corked.write(b"head ")
    corked.write(b"body")
    assert transport.written == []
    await asyncio.sleep(0)
    corked.write(b"next")
    await asyncio.sleep(0)
    assert transport.written == [b"head body", b"next"]
    assert corked.get_extra_info("peername") == ("127.0.0.1", 1)


@pytest.mark.anyio
@pytest.mark.req("RT-1")
async def test_what_was_written_goes_out_before_the_close_and_nothing_after_it() -> None:
    transport = Recorded()
    corked = CorkedTransport(transport, asyncio.get_running_loop())
    corked.write(b"last")
    corked.close()
    corked.write(b"too late")
    await asyncio.sleep(0)
    assert (transport.written, transport.closed) == ([b"last"], True)
