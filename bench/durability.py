"""P9, second half: kill -9 of a worker with 64 session calls in flight: what is lost of what was acknowledged."""

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "python")]

from soakkit.cluster import Cluster  # noqa: E402
from soakkit.ledger import Book, Ledger  # noqa: E402
from soakkit.work import ScriptedWork  # noqa: E402

from python_bridge.errors import BridgeError  # noqa: E402

LANES, WORKERS, KILLS = 64, 2, 10


class Client:
    """Changes one session again and again, and keeps account."""

    def __init__(self, index: int, cluster: Cluster) -> None:
        self.session = f"s{index}"
        self.ledger = Ledger()
        self._place = 1 + index % WORKERS
        self._cluster = cluster
        self._work = ScriptedWork()

    async def open(self) -> None:
        await self._cluster.request(self._place, "session.open", {"session": self.session})

    async def run(self, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            number += 1
            try:
                meta = {"session": self.session, "within": []}
                await self._cluster.request(self._place, "call", self._work.slow(number), **meta)
            except BridgeError as error:
                if error.kind == "worker_lost":
                    self.ledger.unknown.add(number)
                elif not error.retryable:
                    raise
            else:
                self.ledger.acknowledged.add(number)

    async def settle(self, book: Book) -> None:
        history = await self._cluster.request(0, "session.history", {"session": self.session})
        applied = [self._work.number(entry["fields"]) for entry in history["entries"]]
        first = min(applied, default=0)  # the history keeps the newest thousand entries
        self.ledger.acknowledged = {number for number in self.ledger.acknowledged if number >= first}
        book.settle(self.session, self.ledger, applied)


async def measure(folder: Path) -> Book:
    """Return the account of all sessions after the kills."""
    book, over = Book(), asyncio.Event()
    arguments = ["--engine=scripted", f"--store=sqlite:///{folder}/bench.db", "--log-level=error"]
    cluster = Cluster(arguments, {**os.environ, "TMPDIR": str(folder)}, {}, WORKERS)
    await cluster.start()
    clients = [Client(index, cluster) for index in range(LANES)]
    await asyncio.gather(*(client.open() for client in clients))
    running = asyncio.gather(*(client.run(over) for client in clients))
    for number in range(KILLS):
        await asyncio.sleep(random.uniform(0.1, 0.3))
        await cluster.end(cluster.slots[1 + number % WORKERS], signal.SIGKILL)
    over.set()
    await running
    for client in clients:
        await client.settle(book)
    await cluster.stop()
    return book


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = await measure(Path(folder))
    for problem in book.problems:
        print(problem, file=sys.stderr)
    if book.doubled or book.never_sent:
        raise SystemExit("changes were applied twice, or though they were refused")
    print(f"{book.acknowledged} changes acknowledged, {book.unknown} of unknown fate, {KILLS} kills", file=sys.stderr)
    name = "acknowledged session changes lost by kill -9, 64 calls in flight"
    report = {"id": "P9", "name": name, "unit": "changes", "goal": "value <= 0", "samples": [book.lost]}
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
