"""Results in memory, as bytes: bounded in size and number, with a time to live. Every hit is a fresh copy."""

import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.store.results import ResultFile
from python_bridge.wire import json as wire_json

_LENGTH = struct.Struct(">I")
_OVERHEAD = 300  # bytes of an entry beside its body, about

_DAMAGE = (BridgeError, struct.error, ValueError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class Entry:
    """A result at rest.

    Attributes:
        expires: seconds of the wall clock.
    """

    program: str
    tenant: str
    body: bytes
    expires: float


class ResultCache:
    """The result cache of one executor. Safe for threads.

    Args:
        max_bytes, max_entries: the least recently used go first.
        ttl: seconds; older entries are misses, and only a fallback may still have them.
        tier: keeps, beyond this process, what has a key that means the same in others.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_entries: int = 10_000,
        ttl: float = 3600.0,
        tier: ResultFile | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._ttl = ttl
        self._clock = clock
        self.tier = tier
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._bytes = 0
        self._counts = dict.fromkeys(("hits", "misses", "stale", "stored", "evicted", "expired", "uncacheable"), 0)

    def get(self, key: bytes, *, count: bool = True) -> CallResult | None:
        """Return a copy of the result from memory, or ``None``.

        Args:
            count: whether nothing found counts as a miss.
        """
        with self._lock:
            entry = self._live(key)
            if entry is not None:
                self._counts["hits"] += 1
            elif count:
                self._counts["misses"] += 1
        return None if entry is None else _read(entry.body, "hit")

    def get_far(self, key: bytes) -> CallResult | None:
        """Return a copy of the result from the tier, which memory then has too. May block."""
        entry, found = self._far(key, "hit")
        if entry is None or entry.expires <= self._clock():
            return None
        self._keep(key, entry)
        with self._lock:
            self._counts["misses"] -= 1
            self._counts["hits"] += 1
        return found

    def put_far(self, key: bytes) -> None:
        """Give what memory has of a key to the tier. May block."""
        if self.tier is not None and (entry := self._entries.get(key)) is not None:
            self.tier.put(key, (entry.program, entry.tenant, entry.body, entry.expires))

    def stale(self, key: bytes) -> CallResult | None:
        """Return a copy of the result however old it is, or ``None``."""
        entry = self._entries.get(key)
        found = self._far(key, "stale")[1] if entry is None else _read(entry.body, "stale")
        if found is not None:
            with self._lock:
                self._counts["stale"] += 1
        return found

    def put(self, key: bytes, result: CallResult, *, program: str, tenant: str) -> None:
        """Keep a copy; what is no plain data, or larger than the cache, is only counted."""
        try:
            body = _write(result)
        except BridgeError:
            body = None
        if body is None or len(body) + _OVERHEAD > self._max_bytes:
            with self._lock:
                self._counts["uncacheable"] += 1
            return
        entry = Entry(program, tenant, body, self._clock() + self._ttl)
        self._keep(key, entry, stored=1)

    def clear(self, program: str | None = None, tenant: str | None = None) -> int:
        """Forget all entries, or those of a program's content, a tenant, or both; return how many in memory."""
        with self._lock:
            gone = [
                key
                for key, entry in self._entries.items()
                if (program is None or entry.program == program) and (tenant is None or entry.tenant == tenant)
            ]
            for key in gone:
                self._drop(key)
        if self.tier is not None:
            self.tier.clear(program, tenant)
        return len(gone)

    def stats(self) -> dict[str, Any]:
        """Return counts, and how much is kept."""
        with self._lock:
            counts: dict[str, Any] = {**self._counts, "entries": len(self._entries), "bytes": self._bytes}
        asked = counts["hits"] + counts["misses"]
        counts["hit_rate"] = counts["hits"] / asked if asked else 0.0
        if self.tier is not None:
            counts["file"] = self.tier.stats()
        return counts

    def close(self) -> None:
        """Close the tier."""
        if self.tier is not None:
            self.tier.close()

    def _far(self, key: bytes, how: str) -> tuple[Entry, CallResult] | tuple[None, None]:
        row = self.tier.get(key) if self.tier is not None else None
        if self.tier is None or row is None:
            return None, None
        try:
            program, tenant, body, expires = row
            return Entry(str(program), str(tenant), body, float(expires)), _read(body, how)
        except _DAMAGE:  # the file was whole, and this row was not
            self.tier.discard(key)
            return None, None

    def _live(self, key: bytes) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._counts["expired"] += 1  # kept for those who take stale results, until others need the room
            return None
        self._entries.move_to_end(key)
        return entry

    def _keep(self, key: bytes, entry: Entry, *, stored: int = 0) -> None:
        with self._lock:
            self._counts["stored"] += stored
            self._drop(key)
            self._entries[key] = entry
            self._bytes += len(entry.body) + _OVERHEAD
            while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
                self._drop(next(iter(self._entries)))
                self._counts["evicted"] += 1

    def _drop(self, key: bytes) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._bytes -= len(entry.body) + _OVERHEAD


def _write(result: CallResult) -> bytes:
    """The outputs as the wire has them, any value of it; the rest is JSON, which is quicker to write."""
    made: dict[str, Any] = {"outputs": result.outputs}
    if result.completions is not None:
        made["completions"] = result.completions
    outputs = wire_json.encode(made)
    rest = orjson.dumps((result.usage, result.cost, result.model, result.adapter))
    return _LENGTH.pack(len(outputs)) + outputs + rest


def _read(body: bytes, how: str) -> CallResult:
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    made = wire_json.decode(body[_LENGTH.size : end])
    usage, cost, model, adapter = orjson.loads(body[end:])
    return CallResult(made["outputs"], made.get("completions"), usage, cost, model, adapter, how)


__all__ = ["Entry", "ResultCache"]
