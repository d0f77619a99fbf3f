"""What callers of the executor give and get."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.wire.told import encode_told


class ExecutionMode(StrEnum):
    """How a program is run.

    `DRY_RUN` validates and runs nothing. `DEBUG` runs without cache and records every step.
    """

    NORMAL = "normal"
    DRY_RUN = "dry_run"
    DEBUG = "debug"

    @classmethod
    def read(cls, value: "ExecutionMode | str") -> "ExecutionMode":
        """Return the mode called `value`.

        Raises:
            BridgeError: `invalid_input` for other names.
        """
        try:
            return cls(value)
        except ValueError:
            known = ", ".join(mode.value for mode in cls)
            raise BridgeError("invalid_input", f"the mode {value!r:.80} is not known; use one of {known}") from None


@dataclass(slots=True)
class ExecutionResult:
    """How one execution went. All of it is plain data of the caller's own.

    Attributes:
        outputs: output fields, those of the signature first.
        error: what went wrong, ``None`` on success.
        execution_time: seconds from the call to its answer.
        metadata: `execution_id`, `mode`, `cache` (``"hit"``, ``"miss"``, ``"stale"``, ``"off"``), `attempts`, `usage`,
            `cost`, `model`, `adapter`, `signature`; on failure `error_kind`, `error_details`; in debug mode
            `debug_trace`; `fallback` when one was needed.
    """

    success: bool
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    execution_time: float = 0.0
    program_name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a map."""
        return {
            "success": self.success,
            "outputs": self.outputs,
            "error": self.error,
            "execution_time": self.execution_time,
            "program_name": self.program_name,
            "metadata": self.metadata,
        }

    def to_json(self) -> str:
        """Return JSON; what JSON lacks is tagged as on the wire, and objects are told by their `repr`."""
        return encode_told(self.to_dict()).decode()


__all__ = ["ExecutionMode", "ExecutionResult"]
