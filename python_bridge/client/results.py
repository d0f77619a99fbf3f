"""What a client gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json


@dataclass(slots=True)
class ExecutionResult:
    """How one execution went. A program's failure is a result too, with ``success`` false.

    Attributes:
        outputs: output fields, those of the signature first.
        error: what went wrong, ``None`` on success.
        execution_time: seconds that the server took.
        metadata: `mode`, `cache`, `attempts`, `usage`, `cost`, `model`, …; `error_kind` on failure; `debug_trace` in
            debug mode.
        execution_id: asks the server for this result again, with `Client.execution`.
    """

    success: bool
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    execution_time: float = 0.0
    program_name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    execution_id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a map."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def to_json(self) -> str:
        """Return JSON.

        Raises:
            BridgeError: `invalid_input` when something was put in that JSON lacks.
        """
        return wire_json.encode(self.to_dict()).decode()

    @classmethod
    def read(cls, body: Any) -> "ExecutionResult":
        """Read the server's answer; members that this version does not know are passed over.

        Raises:
            BridgeError: `protocol_error` when it is no result.
        """
        maps = isinstance(body, Mapping) and all(
            isinstance(body.get(name, {}), dict) for name in ("outputs", "metadata")
        )
        if not maps or not isinstance(body.get("success"), bool):
            raise BridgeError("protocol_error", "the server's answer is no execution result; is base_url right?")
        return cls(**{name: body[name] for name in cls.__dataclass_fields__ if name in body})


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How far a batch is that runs behind the caller's back.

    Attributes:
        status: ``"running"``, ``"finished"``, ``"cancelled"`` or ``"failed"``.
        total: items of the batch.
        done: items that have a result.
        failed: those of them whose result is a failure.
        error: why the batch as a whole failed.
    """

    batch_id: str
    status: str
    total: int
    done: int
    failed: int
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether no more results will come."""
        return self.status != "running"

    @classmethod
    def read(cls, body: Any) -> "JobStatus":
        """Read the server's answer.

        Raises:
            BridgeError: `protocol_error` when it is no state of a job.
        """
        try:
            return cls(**{name: body[name] for name in cls.__dataclass_fields__ if name in body})
        except TypeError:
            raise BridgeError("protocol_error", "the server's answer is no job; is base_url right?") from None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that happened while a program ran.

    Attributes:
        type: ``"token"``, ``"status"``, …
        data: the whole event; a token has `field`, `text` and `last`.
    """

    type: str
    data: dict[str, Any]

    @property
    def text(self) -> str:
        """The text of a token, empty for other events."""
        return str(self.data.get("text", "")) if self.type == "token" else ""


__all__ = ["ExecutionResult", "JobStatus", "StreamEvent"]
