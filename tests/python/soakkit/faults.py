"""Faults of the machine that real workers meet. Each function causes one and says what it found."""

import asyncio
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from links import Process, python_process, worker_arguments
from soakkit.checks import Check

from python_bridge.errors import BridgeError
from python_bridge.testing.client import BridgeClient

_CHUNK = 20_000
_YEAR_S = 365 * 24 * 3600
_HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@asynccontextmanager
async def worker(
    store: Path, *, patience_s: float = 60, env: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[tuple[BridgeClient, Process]]:
    """A worker process with the scripted engine, ready for calls."""
    client = BridgeClient()
    arguments = worker_arguments(store=f"sqlite:///{store}", **settings)
    environ = {**os.environ, **(env or {})}
    async with python_process(client, *arguments, patience_s=patience_s, env=environ) as process:
        await client.ready()
        yield client, process


async def put(client: BridgeClient, number: int, **meta: Any) -> None:
    """Add one variable to the session."""
    await client.request("session.put", {"session": "s", "variables": {f"v{number}": number}}, **meta)


async def numbers(client: BridgeClient) -> list[int]:
    """Return what the session holds."""
    return list((await client.request("session.get", {"session": "s"}))["variables"].values())


async def error_of(awaitable: Any) -> BridgeError:
    """Return the error of a call that should have one."""
    try:
        await awaitable
    except BridgeError as error:
        return error
    return BridgeError("internal", "there was no error")


async def locked_store(folder: Path, *, hold_s: float, patience_ms: int) -> list[Check]:
    """Another process holds the store's lock exclusively.

    Args:
        hold_s: seconds beyond the first refusal.
        patience_ms: how long one of the two workers waits; the other one waits for as long as it takes.
    """
    store, long = folder / "locked.db", 60 + 2 * hold_s
    async with (
        worker(store, patience_s=long, store_lock_ms=patience_ms) as (hasty, _),
        worker(store, patience_s=long, store_lock_ms=int(long * 1000)) as (patient, _),
    ):
        await hasty.request("session.open", {"session": "s"})
        await patient.request("session.open", {"session": "other"})
        await put(hasty, 0)
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLD_LOCK, str(store), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        await holder.stdout.readline()
        started = time.monotonic()
        waiting = asyncio.create_task(patient.request("session.put", {"session": "other", "variables": {"v": 1}}))
        refused = await error_of(put(hasty, 1))
        read = await numbers(hasty)
        await asyncio.sleep(hold_s)
        waited = not waiting.done()
        await holder.communicate(b"")  # the end of its input lets it go
        held = time.monotonic() - started
        await waiting
        await put(hasty, 2)
        after = await numbers(hasty)
    return [
        Check.equal(f"store locked for {held:.0f} s: a call is refused as", refused.kind, "unavailable"),
        Check.equal(
            "  and says that it may be repeated, and when", (refused.retryable, bool(refused.retry_after)), (True, True)
        ),
        Check.equal("  reads go on", read, [0]),
        Check.equal("  a patient worker waits, and makes its change", waited, True),
        Check.equal("  what was acknowledged, and nothing else", after, [0, 2]),
    ]


async def full_disk(folder: Path) -> list[Check]:
    """Files of the worker may not grow: to SQLite that is a full disk. Then they may again."""
    store = folder / "full.db"
    async with worker(store) as (client, process):
        await client.request("session.open", {"session": "s"})
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (400_000, hard))
        acknowledged, refused = await _fill(client)
        kept = (await client.request("session.history", {"session": "s"}))["entries"]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        await _append(client, acknowledged)
        process.signal(signal.SIGKILL)
        await process.exited
    return [*_refused(refused, acknowledged, len(kept)), *await _survived(store, acknowledged + 1)]


async def full_file_system(folder: Path) -> list[Check]:
    """The store lies on a small file system, in a mount namespace of the worker alone, that is full. Then it is not.

    Nothing of it is seen outside, nor left when the worker is gone.
    """
    place = folder / "small"
    place.mkdir()
    if not _may_mount(place):
        return [Check("full file system", "this system lets no process mount one of its own", "–", ok=True)]
    inside = 'mount -t tmpfs -o size=1m small "$0" && head -c 500000 /dev/zero > "$0/ballast" && exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, str(place), sys.executable]
    become = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    client = BridgeClient()
    arguments = worker_arguments(store=f"sqlite:///{place}/full.db")
    async with python_process(client, "-c", become, *command, *arguments) as process:
        await client.ready()
        await client.request("session.open", {"session": "s"})
        acknowledged, refused = await _fill(client)
        kept = (await client.request("session.history", {"session": "s"}))["entries"]
        os.unlink(f"/proc/{process.pid}/root{place}/ballast")
        await _append(client, acknowledged)
        after = (await client.request("session.history", {"session": "s"}))["entries"]
    checks = _refused(refused, acknowledged, len(kept))
    return [*checks, Check.equal("  with space again the next change is made", len(after), acknowledged + 1)]


def _may_mount(place: Path) -> bool:
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=1m",
        "t",
        str(place),
    ]
    found = shutil.which("unshare") is not None
    return found and subprocess.run(command, capture_output=True, check=False).returncode == 0


async def _append(client: BridgeClient, number: int) -> None:
    filler = os.urandom(_CHUNK).hex()
    await client.request("session.append", {"session": "s", "entries": [{"number": number, "filler": filler}]})


async def _fill(client: BridgeClient) -> tuple[int, BridgeError]:
    """Append until it is refused; return how many were acknowledged, and the refusal."""
    for number in range(1_000):
        try:
            await _append(client, number)
        except BridgeError as error:
            return number, error
    return 1_000, BridgeError("internal", "there was no end of the disk")


def _refused(refused: BridgeError, acknowledged: int, kept: int) -> list[Check]:
    return [
        Check.equal("full disk: a change is refused as", refused.kind, "unavailable"),
        Check("  and says why", refused.message[:50], "…disk…", ok="disk" in refused.message),
        Check.at_least("  changes acknowledged before", acknowledged, 1),
        Check.equal("  all of them are there", kept, acknowledged),
    ]


async def _survived(store: Path, count: int) -> list[Check]:
    async with worker(store) as (client, _):
        entries = (await client.request("session.history", {"session": "s"}))["entries"]
    found = [entry["fields"]["number"] for entry in entries]
    return [Check.equal("  and are there when the worker was killed, with the one after", found, list(range(count)))]


async def held_interpreter(folder: Path, *, hold_s: float, ping_s: float, misses: int) -> list[Check]:
    """C code holds the interpreter's lock. A client that pings sees it, and kills the worker past its grace."""
    async with worker(folder / "gil.db") as (client, process):
        lost = client.send(
            "call", {"program": {"kind": "scripted"}, "inputs": {"script": [{"hold_gil_ms": int(hold_s * 1000)}]}}
        )
        started, missed, pings = time.monotonic(), 0, list[asyncio.Task[Any]]()
        while missed < misses:
            pings.append(asyncio.create_task(client.request("ping")))
            await asyncio.wait({pings[-1]}, timeout=ping_s)
            missed = 0 if pings[-1].done() else missed + 1
        process.signal(signal.SIGKILL)
        status = await process.exited
        took = time.monotonic() - started
        kind = (await error_of(client.response(lost))).kind
        await asyncio.gather(*pings, return_exceptions=True)
    return [
        Check.equal(f"interpreter held for {hold_s:.0f} s: pings missed in a row", missed, misses),
        Check(
            "  the worker is killed before that",
            f"{took:.1f} s",
            f"< {hold_s:.0f} s",
            ok=took < hold_s and status == -9,
        ),
        Check.equal("  its call is answered with", kind, "worker_lost"),
    ]


async def clock_jumps(folder: Path) -> list[Check]:
    """The wall clock of a worker is set a year ahead, then two years back."""
    library, offset, store = folder / "clock.so", folder / "offset", folder / "clock.db"
    source = Path(__file__).with_name("clock.c")
    compiled = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    await asyncio.to_thread(subprocess.run, compiled, check=True)
    offset.write_bytes(struct.pack("=q", 0))
    checks: list[Check] = []
    async with worker(store, env={"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}) as (client, _):
        await client.request("session.open", {"session": "s", "limits": {"idle_ms": 3_600_000, "ttl_ms": 7_200_000}})
        await put(client, 0, idempotency_key="k")
        for step, (name, seconds) in enumerate((("ahead", _YEAR_S), ("back", -_YEAR_S), ("right", 0)), 1):
            await asyncio.to_thread(_set_offset, offset, seconds)
            await put(client, step)
            await put(client, 0, idempotency_key="k")  # the key still holds: nothing is done again
            found = (await numbers(client), len((await client.request("session.list"))["sessions"]))
            wanted = (list(range(step + 1)), 1)
            checks.append(Check.equal(f"clock set {name}: the session and its keys hold", found, wanted))
        touched = await client.request("session.touch", {"session": "s"})
        ends = touched["expires_at"].timestamp() - time.time()
        checks.append(Check("  its end stays where it was", f"in {ends:.0f} s", "≤ 7200 s", ok=0 < ends <= 7_200))
    return checks


def _set_offset(path: Path, seconds: int) -> None:
    with path.open("r+b") as file:
        file.write(struct.pack("=q", seconds))


async def many_sessions(folder: Path, *, count: int, lanes: int = 32) -> list[Check]:
    """Sessions are opened, changed and closed."""
    async with worker(folder / "many.db", patience_s=600) as (client, process):

        async def lane(first: int, last: int) -> None:
            for number in range(first, last, lanes):
                own = {"session": f"s{number}"}
                await client.request("session.open", own)
                await client.request("session.put", {**own, "variables": {"n": number}})
                await client.request("session.close", own)

        async def all_of(first: int, last: int) -> int:
            await asyncio.gather(*(lane(first + number, last) for number in range(lanes)))
            return int((await client.request("worker/status"))["rss_bytes"])

        before = await all_of(0, count // 5)
        descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
        after = await all_of(count // 5, count)
        grown = (after - before) / (1 << 20)
        opened = len(os.listdir(f"/proc/{process.pid}/fd")) - descriptors
        left = (await client.request("session.list"))["sessions"]
    return [
        Check.equal(f"{count:,} sessions opened and closed: left", len(left), 0),
        Check("  memory of the worker has grown by", f"{grown:.1f} MiB", "≤ 16 MiB", ok=grown <= 16),
        Check("  open files more than before", str(opened), "≤ 2", ok=opened <= 2),
    ]


__all__ = ["clock_jumps", "full_disk", "full_file_system", "held_interpreter", "locked_store", "many_sessions"]
