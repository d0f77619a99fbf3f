"""Telemetry: switched, sampled and chosen by the client, bounded, and free of charge when nobody listens."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from links import PROGRAM

from python_bridge.errors import BridgeError
from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.observability.subscription import EVENTS, MAX_QUEUED, Subscription, Wanted
from python_bridge.settings import Settings
from python_bridge.testing import Answer, ScriptedLM
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.transports.memory import connect_memory
from python_bridge.worker.assembly import Services, assemble
from python_bridge.worker.boot import boot
from python_bridge.worker.memory import memory_worker

TRACE = "0af7651916cd43dd8448eb211c80319c"
SETTINGS = Settings(engine="scripted", monitor_ms=20)


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    made = assemble(SETTINGS)
    await boot(made.dispatcher, made.operations, ScriptedEngine(SETTINGS))
    yield made
    made.dispatcher.end(0)
    await asyncio.sleep(0)
    await made.close()


async def connected(dispatcher: Dispatcher, **options: Any) -> BridgeClient:
    client = connect_memory(dispatcher, lambda: BridgeClient(**options))
    await client.ready()
    return client


def told(client: BridgeClient, name: str = "") -> list[dict[str, Any]]:
    """The events of this name, or whose name begins so, that have come."""
    params = [one.params for one in client.notifications if one.method == "telemetry/event"]
    return [event for event in params if event["name"].startswith(name)]


async def until_told(client: BridgeClient, name: str, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(30):
        while len(told(client, name)) < count:
            await client.request("ping")
            await asyncio.sleep(0.001)
    return told(client, name)


async def call(client: BridgeClient, *script: dict[str, Any], **meta: Any) -> Any:
    return await client.request("call", {"program": PROGRAM, "inputs": {"script": list(script)}}, **meta)


@pytest.mark.anyio
@pytest.mark.req("NFR4.2.2", "NFR2.2.4")
async def test_a_listening_client_hears_of_its_calls_with_their_ids(services: Services) -> None:
    client = await connected(services.dispatcher)
    answer = await client.request("telemetry/configure", {"enabled": True})
    assert answer == {"enabled": True, "sample": 1.0, "events": list(EVENTS)}
    await call(client, {"answer": 1}, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    with pytest.raises(BridgeError):
        await call(client, {"raise": "lm_error", "message": "a private matter"})
    (failure,) = await until_told(client, "call.exception")
    start, stop = told(client, "call.start")[0], told(client, "call.stop")[0]
    assert start["metadata"].items() <= stop["metadata"].items()
    assert (stop["metadata"]["trace_id"], stop["metadata"]["method"]) == (TRACE, "call")
    assert stop["measurements"]["duration_ms"] >= start["measurements"]["queue_ms"] >= 0
    assert stop["metadata"]["adapter"] == "chat"
    assert failure["metadata"]["kind"] == "lm_error"
    assert "a private matter" not in repr(told(client))


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_or_too_late_is_told_at_once(services: Services) -> None:
    client = await connected(services.dispatcher)
    await client.request("telemetry/configure", {"enabled": True, "events": ["call"]})
    with pytest.raises(BridgeError):
        await call(client, {"stall": True}, deadline_ms=20)
    number = client.send("call", {"program": PROGRAM, "inputs": {"script": [{"stall": True}]}})
    await until_told(client, "call.start", 2)
    client.cancel(number)
    kinds = [event["metadata"]["kind"] for event in await until_told(client, "call.exception", 2)]
    assert kinds == ["timeout", "cancelled"]


@pytest.mark.anyio
async def test_tools_of_the_client_are_told_of(services: Services) -> None:
    async def find(arguments: dict[str, Any]) -> str:
        if arguments.get("fail"):
            raise ValueError("no")
        return "found"

    client = await connected(services.dispatcher, tools={"find": find})
    await client.request("telemetry/configure", {"enabled": True, "events": ["tool"]})
    await call(client, {"tool": "find"})
    with pytest.raises(BridgeError):
        await call(client, {"tool": "find", "arguments": {"fail": True}})
    await until_told(client, "tool.exception")
    assert [event["name"] for event in told(client, "tool")] == [
        *("tool.start", "tool.stop"),
        *("tool.start", "tool.exception"),
    ]
    assert told(client, "tool")[0]["metadata"]["tool"] == "find"
    assert told(client, "call") == []


@pytest.mark.anyio
async def test_lm_calls_are_told_of_with_their_tokens() -> None:
    lm = ScriptedLM([Answer({"answer": "42"})]).lm
    async with memory_worker(lms={"default": lm}) as client:
        await client.request("telemetry/configure", {"enabled": True})
        program = {"format": 1, "kind": "predict", "signature": "question -> answer"}
        await client.request("call", {"program": program, "inputs": {"question": "a private matter"}})
        (stop,) = await until_told(client, "lm.stop")
        (whole,) = await until_told(client, "call.stop")
        assert stop["metadata"]["request_id"] == whole["metadata"]["request_id"]
        assert stop["measurements"]["total_tokens"] == whole["measurements"]["total_tokens"]
        assert whole["measurements"]["lm_calls"] == 1
        assert "a private matter" not in repr(told(client))


@pytest.mark.anyio
@pytest.mark.req("FR2.1.4")
async def test_load_memory_and_the_delay_of_the_loop_are_told_at_each_look(services: Services) -> None:
    client = await connected(services.dispatcher)
    await client.request("telemetry/configure", {"enabled": True, "events": ["worker"]})
    await call(client, {"block_ms": 80})
    await until_told(client, "worker.loop", 3)
    assert told(client, "worker.memory")[0]["measurements"]["rss_bytes"] > 1_000_000
    assert told(client, "worker.queue")[0]["measurements"] == {"running": 0, "queued": 0, "abandoned": 0}
    assert max(event["measurements"]["lag_ms"] for event in told(client, "worker.loop")) > 20
    status = await client.request("worker/status")
    assert status["max_loop_lag_ms"] > 20
    assert status["peak_rss_bytes"] >= status["rss_bytes"] // 2


@pytest.mark.anyio
async def test_nobody_hears_of_calls_before_asking_nor_after_switching_off(services: Services) -> None:
    client, other = await connected(services.dispatcher), await connected(services.dispatcher)
    await call(client, {"answer": 1})
    await client.request("telemetry/configure", {"enabled": True, "events": ["call"]})
    assert services.dispatcher.observer is not None
    await call(client, {"answer": 1})
    await call(other, {"answer": 1})
    assert len(await until_told(client, "call.stop")) == 1
    assert await client.request("telemetry/configure", {"enabled": False}) == {
        "enabled": False,
        "sample": 1.0,
        "events": [],
    }
    await call(client, {"answer": 1})
    assert len(told(client, "call.stop")) == 1
    assert told(other) == []
    assert services.dispatcher.observer is None


@pytest.mark.anyio
async def test_a_worker_forgets_clients_that_are_gone(services: Services) -> None:
    client = await connected(services.dispatcher)
    await client.request("telemetry/configure", {"enabled": True, "logs": "info"})
    client.close()
    await client.closed
    async with asyncio.timeout(30):
        while services.dispatcher.observer is not None:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
    logging.getLogger("python_bridge").warning("nobody hears this")
    await asyncio.sleep(0)
    assert services.observability.observer.subscriptions == {}


@pytest.mark.anyio
async def test_a_sample_holds_its_share_of_requests_and_all_events_of_each(services: Services) -> None:
    client = await connected(services.dispatcher)
    await client.request("telemetry/configure", {"enabled": True, "sample": 0.25, "events": ["call"]})
    for _ in range(200):
        await call(client, {"answer": 1})
    await client.request("telemetry/configure", {"enabled": True, "events": ["call.stop"]})
    await call(client, {"answer": 1})
    stops = await until_told(client, "call.stop", 2)
    starts = {event["metadata"]["request_id"] for event in told(client, "call.start")}
    assert starts == {event["metadata"]["request_id"] for event in stops[:-1]}
    assert 30 <= len(starts) <= 70


@pytest.mark.parametrize(("sample", "taken"), [(0.0, 0), (0.1, 1000), (0.5, 5000), (1.0, 10_000)])
def test_the_sample_of_many_requests_is_its_share(sample: float, taken: int) -> None:
    wanted = Wanted(sample, ("call",))
    assert abs(sum(wanted.takes_request(serial) for serial in range(10_000)) - taken) <= 20


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"enabled": True, "sample": 2.0}, "sample of telemetry/configure must be from 0 to 1, it is 2.0"),
        ({"enabled": True, "events": ["lm", "dance"]}, "no 'dance'; known are call, lm"),
        ({"enabled": True, "logs": "loud"}, "logs of telemetry/configure must be one of debug, info"),
        ({}, "lacks enabled"),
    ],
)
async def test_a_wrong_wish_is_refused_with_what_is_known(
    services: Services, params: dict[str, Any], text: str
) -> None:
    client = await connected(services.dispatcher)
    with pytest.raises(BridgeError, match=re.escape(text)) as refused:
        await client.request("telemetry/configure", params)
    assert refused.value.kind == "invalid_request"


class Stuck:
    """A listener that does not read, until it does."""

    def __init__(self) -> None:
        self.connection = self
        self.outlet = self
        self.state = None
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()

    def is_writable(self) -> bool:
        return self.reads.is_set()

    async def writable(self) -> None:
        await self.reads.wait()

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self.sent.append(params)

    def flush(self) -> None:
        pass


@pytest.mark.anyio
async def test_a_client_that_does_not_read_loses_events_which_are_counted() -> None:
    listener = Stuck()
    subscription = Subscription(listener, Wanted(1.0, ("call", "telemetry")))
    for number in range(MAX_QUEUED + 50):
        subscription.put("call.start", {"number": number}, {})
        await asyncio.sleep(0)
    assert (listener.sent, subscription.dropped) == ([], 50)
    listener.reads.set()
    async with asyncio.timeout(30):
        while not listener.sent:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
    assert len(listener.sent) == MAX_QUEUED + 1
    assert listener.sent[-1]["name"] == "telemetry.dropped"
    assert listener.sent[-1]["measurements"] == {"count": 50}
    subscription.close()


@pytest.mark.anyio
@pytest.mark.req("NFR4.2.1", "NFR2.2.4")
async def test_a_client_gets_log_records_of_the_level_it_asks_for_with_the_ids_of_the_request(
    services: Services,
) -> None:
    client = await connected(services.dispatcher)
    await client.request("telemetry/configure", {"enabled": True, "events": ["call"], "logs": "error"})
    with pytest.raises(BridgeError, match="RuntimeError"):
        await call(client, {"raise": "defect", "message": "with sk-0123456789abcdef"})
    logging.getLogger("python_bridge").info("too quiet")
    async with asyncio.timeout(30):
        record = await client.notification("log/message")
    assert (record["level"], record["logger"]) == ("error", "python_bridge")
    assert record["data"]["method"] == "call"
    assert "sk-0123456789abcdef" not in repr(client.notifications)
    assert len([one for one in client.notifications if one.method == "log/message"]) == 1
