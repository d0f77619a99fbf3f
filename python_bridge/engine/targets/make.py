"""The one door to targets: takes what callers call a program."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy
import orjson
from cachetools import LRUCache

from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.instruments import Instruments
from python_bridge.engine.targets.instance import InstanceTarget
from python_bridge.engine.targets.interface import Target
from python_bridge.engine.targets.lms import on_loop
from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.wire import json as wire_json

MAX_TARGETS = 256
_MAX_KNOWN = 64
_MAX_KNOWN_BYTES = 256 * 1024


class Targets:
    """Makes targets once each and keeps the latest `MAX_TARGETS`.

    Args:
        settings: LMs, default adapter, allowed imports.
        lms: ready LMs by name that win over the settings.
    """

    def __init__(self, settings: Settings, lms: Mapping[str, Any] | None = None) -> None:
        self.engine = DSPyEngine(settings, lms=dict(lms) if lms else None, ambient=lambda: on_loop(dspy.settings.lm))
        self._kept: LRUCache[Any, tuple[Any, Target]] = LRUCache(MAX_TARGETS)
        self._known: LRUCache[int, tuple[Any, bytes, Target]] = LRUCache(_MAX_KNOWN)
        self._lock = threading.RLock()  # callers look programs up in threads of their own

    def get(self, program: Any) -> Target:
        """Return the target of a module instance, of program JSON (a map or text), or of a file that holds it.

        Raises:
            BridgeError: `invalid_request` for anything else, or what the engine says of the program.
        """
        with self._lock:
            return self._get(program)

    def _get(self, program: Any) -> Target:
        if isinstance(program, dspy.Module):
            found = self._kept.get(id(program))
            if found is None or found[0] is not program:  # held, so no other object can get its id
                found = self._kept[id(program)] = program, InstanceTarget(program, self.engine.runner)
            return found[1]
        return self._of_map(program) if isinstance(program, dict) else self._of_document(_read(program))

    def _of_map(self, program: dict[str, Any]) -> Target:
        """Look whether a map is as it was: one with demos takes 100 us to check and to hash, and 2 us to write down."""
        body = _written(program)
        known = self._known.get(id(program))
        if known is not None and known[0] is program and known[1] == body:
            return known[2]
        target = self._of_document(program)
        if body is not None:
            self._known[id(program)] = program, body, target
        return target

    def _of_document(self, document: Mapping[str, Any]) -> Target:
        handle = self.engine.hash_program(document)
        if (kept := self._kept.get(handle)) is None:
            kept = self._kept[handle] = document, self.engine.compile(document).target
        return kept[1]

    def instruments(self, *, record: bool, max_lm_calls: int | None, max_tokens: int | None) -> Instruments:
        """Return meters for one call."""
        return Instruments(record=record, max_lm_calls=max_lm_calls, max_tokens=max_tokens)

    @property
    def abandoned(self) -> int:
        """Threads of calls that were given up and still run."""
        return self.engine.abandoned_threads

    async def close(self) -> None:
        """Close the LMs' connections."""
        await self.engine.close()


def _written(program: dict[str, Any]) -> bytes | None:
    try:
        body = orjson.dumps(program)
    except TypeError:  # orjson's error too; what is wrong with the program is told by those who read it
        return None
    return body if len(body) <= _MAX_KNOWN_BYTES else None


def _read(program: Any) -> Mapping[str, Any]:
    if isinstance(program, Mapping):
        return program
    if isinstance(program, Path):
        try:
            program = program.read_bytes()
        except OSError as error:
            raise BridgeError("not_found", f"the program file {program} cannot be read: {error.strerror}") from None
    if isinstance(program, str | bytes):
        try:
            read = wire_json.decode(program.encode() if isinstance(program, str) else program)
        except BridgeError as error:
            raise BridgeError("invalid_request", f"the program is no JSON: {error.message}") from None
        if isinstance(read, Mapping):
            return read
    kind = "a class; make an instance of it" if isinstance(program, type) else type(program).__name__
    raise BridgeError("invalid_request", f"a program is a dspy.Module instance or program JSON, not {kind}")


__all__ = ["MAX_TARGETS", "Targets"]
