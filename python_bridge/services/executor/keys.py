"""Keys of the result cache."""

import hashlib
from dataclasses import dataclass
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution
from python_bridge.wire import json as wire_json


@dataclass(frozen=True, slots=True)
class Key:
    """What one result answers to.

    Attributes:
        program: hash of the program's content.
        stable: whether it means the same in other processes.
    """

    digest: bytes
    program: str
    tenant: str
    stable: bool


def key_of(execution: Execution) -> Key | None:
    """Return the key of checked inputs: program, LM, parameters, adapter, tenant. ``None`` when they have no bytes."""
    identity = execution.identify()
    body = _bytes(execution.inputs)
    if body is None:
        return None
    tenant = execution.tenant or ""
    digest = hashlib.blake2b(body, digest_size=24, person=b"dspex-result-1")
    digest.update(f"\0{len(body)}\0{len(tenant)}\0{tenant}{identity.text}".encode("utf-8", "surrogatepass"))
    return Key(digest.digest(), identity.program, tenant, identity.stable)


def _bytes(inputs: Any) -> bytes | None:
    try:
        return wire_json.encode(inputs)
    except BridgeError:
        pass
    from python_bridge.engine.outputs import to_plain  # imports dspy, which is there by now

    try:
        return wire_json.encode(to_plain(inputs))
    except BridgeError:
        return None


__all__ = ["Key", "key_of"]
