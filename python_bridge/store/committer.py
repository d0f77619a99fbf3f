"""Group commit: changes that wait at the same moment share one transaction."""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from python_bridge.errors import BridgeError
from python_bridge.store.database import Database
from python_bridge.store.faults import RETRY_AFTER_S, StoreLocked, locked, to_bridge_error
from python_bridge.store.statements import DriverConnection, Transaction

T = TypeVar("T")

MAX_QUEUE = 10_000
"""Changes that may wait; more are refused."""
_MAX_GROUP = 256
_SPINS = 20  # another process holds the lock for some 100 us as a rule, less than the shortest timer


class _Ticket:
    __slots__ = ("alone", "deadline", "future", "heavy", "operation", "taken")

    def __init__(self, operation: Callable[[Transaction], Any], future: asyncio.Future[Any], deadline: float) -> None:
        self.operation = operation
        self.future = future
        self.deadline = deadline
        self.heavy = False
        self.alone = False
        self.taken = False


_Outcome = tuple[_Ticket, Any, Exception | None]


class Committer:
    """Runs changes in transactions, in the order in which they came.

    A commit into SQLite's log takes 40 us and waits for nothing, so it runs in the loop: handing it to a thread costs
    more, and under load a thread gets the interpreter back only every 5 ms, once for each statement. What may block
    runs in a thread: a database behind a socket, commits that wait for the disk, and large values.

    An operation is a function of a `Transaction`. It raises `BridgeError` only before its first change, since the
    others of its group are kept. It may be run again when its group failed.

    Args:
        in_thread: run everything in the thread.
        on_group: called in the loop after each committed group.
    """

    def __init__(self, database: Database, *, in_thread: bool, on_group: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._in_thread = in_thread
        self._on_group = on_group
        self._queue: deque[_Ticket] = deque()
        self._lock = threading.Lock()
        self._connection: DriverConnection | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._scheduled = False
        self._running: asyncio.Future[Any] | None = None
        self._misses = 0
        self._closed = False

    async def submit(self, operation: Callable[[Transaction], T], *, heavy: bool = False) -> T:
        """Run `operation` in a transaction and return what it gave once that is committed.

        A caller that is cancelled before the operation was begun leaves it undone. One that is cancelled later gets the
        result all the same, as the change is made.

        Args:
            heavy: the operation carries large values.

        Raises:
            BridgeError: what the operation raised; `unavailable` for a locked, full or lost store; `overloaded`.
        """
        if self._closed:
            raise BridgeError("unavailable", "the store is closed", retryable=False)
        if len(self._queue) >= MAX_QUEUE:
            text = f"{MAX_QUEUE} changes wait for the store"
            raise BridgeError("overloaded", text, retry_after=RETRY_AFTER_S, details={"limit": "store_queue"})
        loop = asyncio.get_running_loop()
        ticket = _Ticket(operation, loop.create_future(), loop.time() + self._database.settings.lock_timeout_s)
        ticket.heavy = heavy
        self._queue.append(ticket)
        self._schedule()
        try:
            return await asyncio.shield(ticket.future)
        except asyncio.CancelledError:
            if self._withdraw(ticket):
                raise
        return await _outlast_cancellation(ticket.future)

    async def close(self) -> None:
        """Finish what was begun, refuse what waits, and close the connection."""
        self._closed = True
        if self._running is not None:
            with suppress(Exception):
                await asyncio.shield(self._running)
        for ticket in self._queue:
            _deliver(ticket, None, BridgeError("unavailable", "the store was closed before the change was made"))
        self._queue.clear()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop_connection)
        self._executor.shutdown(wait=False)

    def _schedule(self) -> None:
        if not self._scheduled and self._running is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        self._refuse_the_late()
        if not self._queue or self._running is not None:
            return
        if self._in_thread or any(ticket.heavy for ticket in self._queue):
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(self._executor, self._run_group)
            self._running.add_done_callback(self._thread_done)
            return
        try:
            outcomes = self._run_group()
        except StoreLocked:
            self._try_again()
        else:
            self._finish(outcomes)

    def _thread_done(self, done: asyncio.Future[Any]) -> None:
        self._running = None
        if isinstance(done.exception(), StoreLocked):
            self._try_again()
        else:
            self._finish(done.result())

    def _try_again(self) -> None:
        self._misses += 1
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._misses < _SPINS:
            loop.call_soon(self._flush)
        else:
            loop.call_later(random.uniform(0.001, 0.02), self._flush)

    def _finish(self, outcomes: list[_Outcome]) -> None:
        self._misses = 0
        for ticket, value, error in outcomes:
            _deliver(ticket, value, error)
        self._on_group()
        if self._queue and not self._closed:
            self._schedule()

    def _refuse_the_late(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._queue and (self._queue[0].deadline <= now or self._queue[0].future.done()):
            _deliver(self._queue.popleft(), None, locked(self._database.settings.lock_timeout_s))

    def _withdraw(self, ticket: _Ticket) -> bool:
        with self._lock:
            if ticket.taken or ticket.future.done():
                return False
            ticket.future.cancel()
            return True

    def _take(self) -> list[_Ticket]:
        taken: list[_Ticket] = []
        with self._lock:
            while self._queue and len(taken) < _MAX_GROUP:
                if taken and (taken[0].alone or self._queue[0].alone):
                    break
                ticket = self._queue.popleft()
                if not ticket.future.done():
                    ticket.taken = True
                    taken.append(ticket)
        return taken

    def _run_group(self) -> list[_Outcome]:
        try:
            connection = self._begin()
        except StoreLocked:
            raise
        except Exception as error:
            self._drop_connection()
            return [(ticket, None, to_bridge_error(error)) for ticket in self._take()]
        tickets = self._take()
        try:
            transaction = self._database.transaction(connection)
            outcomes = [_apply(ticket, transaction) for ticket in tickets]
        except Exception as error:
            return self._undo(connection, tickets, error)
        try:
            connection.execute("COMMIT")
        except Exception as error:
            if not self._database.is_sqlite:
                self._drop_connection()
                return [(ticket, None, _outcome_unknown(error)) for ticket in tickets]
            return self._undo(connection, tickets, error)
        return outcomes

    def _begin(self) -> DriverConnection:
        fresh = self._connection is None
        connection = self._connection = self._connection or self._database.connect()
        try:
            self._database.begin(connection)
        except StoreLocked:
            raise
        except Exception:
            if fresh or self._database.is_sqlite:
                raise
            # The server closed an idle connection: nothing was begun, so a new one may try.
            self._drop_connection()
            connection = self._connection = self._database.connect()
            self._database.begin(connection)
        return connection

    def _undo(self, connection: DriverConnection, tickets: list[_Ticket], error: Exception) -> list[_Outcome]:
        """Roll back; then the operations are tried one by one, as one of them may be what does not fit."""
        try:
            if getattr(connection, "in_transaction", True):  # a full disk makes SQLite roll back by itself
                connection.execute("ROLLBACK")
        except Exception:
            self._drop_connection()
        if len(tickets) == 1:
            return [(tickets[0], None, to_bridge_error(error))]
        with self._lock:
            for ticket in tickets:
                ticket.alone, ticket.taken = True, False
            self._queue.extendleft(reversed(tickets))
        return []

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()


def _apply(ticket: _Ticket, transaction: Transaction) -> _Outcome:
    try:
        return ticket, ticket.operation(transaction), None
    except BridgeError as error:
        return ticket, None, error


def _deliver(ticket: _Ticket, value: Any, error: Exception | None) -> None:
    if ticket.future.done():
        return
    if error is None:
        ticket.future.set_result(value)
    else:
        ticket.future.set_exception(error)


def _outcome_unknown(error: Exception) -> BridgeError:
    known = to_bridge_error(error)
    text = f"{known.message}; it broke off while a change was committed, which may have been made or not"
    return BridgeError("unavailable", text, retryable=False, details={"committed": "unknown"})


async def _outlast_cancellation(future: asyncio.Future[T]) -> T:
    while not future.done():
        with suppress(asyncio.CancelledError, Exception):
            await asyncio.shield(future)
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
    return future.result()


__all__ = ["MAX_QUEUE", "Committer"]
