"""Sessions over the wire of real worker processes."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from links import PROGRAM, Link, stdio_link

from python_bridge.errors import BridgeError

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def worker(store: str) -> AsyncIterator[Link]:
    async with stdio_link({}, {"store": store}) as link:
        await link.client.ready()
        yield link


def call(*script: dict[str, Any]) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"script": list(script)}}


@pytest.mark.req("OWN-3", "FR2.3.3")
async def test_a_session_outlives_a_worker_that_is_killed_in_mid_call(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/x.db"
    async with worker(store) as first, worker(store) as second:
        await first.client.request("session.open", {"session": "s", "variables": {"a": 1}})
        await first.client.request("call", call({"answer": "kept"}), session="s", idempotency_key="k1")
        lost = first.client.send("call", call({"stall": True}), session="s", idempotency_key="k2")
        while (await first.client.request("worker/status"))["in_flight"] != 1:
            pass
        assert first.process is not None
        first.process.signal(signal.SIGKILL)
        with pytest.raises(BridgeError) as caught:
            await first.client.response(lost)
        assert caught.value.kind == "worker_lost"

        again = await second.client.request("call", call({"answer": "kept"}), session="s", idempotency_key="k1")
        assert again["outputs"]["answer"] == "kept"
        session = await second.client.request("session.describe", {"session": "s"})
        assert (session["usage"]["calls"], session["variables"]) == (1, ["a"])
        assert (await second.client.request("session.close", {"session": "s"})) == {"closed": True}


async def test_a_worker_that_is_told_to_end_leaves_its_store_whole(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/x.db"
    async with worker(store) as link:
        for number in range(20):
            await link.client.request("session.open", {"session": f"s{number}"})
        assert link.process is not None
        link.process.signal(signal.SIGTERM)
        assert await link.ended == 0
    assert os.listdir(tmp_path) == ["x.db"]  # the log was copied back
    async with worker(store) as link:
        assert len((await link.client.request("session.list"))["sessions"]) == 20
