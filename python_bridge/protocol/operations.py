"""What each operation takes, as `proto/PROTOCOL.md` (sections 5 and 8 to 10) lists it."""

from dataclasses import dataclass, field
from typing import Any

CONTROL_METHODS = frozenset({"ping", "initialize", "shutdown", "worker/status"})
"""Answered when they are read, also while the worker drains."""


@dataclass(slots=True)
class Nothing:
    """Parameters of operations that take none."""


@dataclass(slots=True)
class InitializeParams:
    protocol_versions: list[Any]
    client: dict[str, Any] = field(default_factory=dict[str, Any])
    encodings: list[Any] | None = None
    limits: dict[str, Any] | None = None
    capabilities: dict[str, Any] | None = None
    token: str | None = None


@dataclass(slots=True)
class ShutdownParams:
    grace_ms: int | None = None


@dataclass(slots=True)
class EchoParams:
    value: Any


@dataclass(slots=True)
class ProgramParams:
    program: dict[str, Any]


@dataclass(slots=True)
class ModuleParams:
    module: str


@dataclass(slots=True)
class ModuleCallParams:
    module: str
    inputs: dict[str, Any]
    options: dict[str, Any] | None = None


@dataclass(slots=True)
class CallParams:
    program: dict[str, Any]
    inputs: dict[str, Any]
    options: dict[str, Any] | None = None


@dataclass(slots=True)
class OptionsParams:
    lm: str | None = None
    adapter: str | None = None
    config: dict[str, Any] | None = None


@dataclass(slots=True)
class CallOptionsParams(OptionsParams):
    execution: dict[str, Any] | None = None


@dataclass(slots=True)
class ExecutionParams:
    cache: bool = True
    retries: int = 0
    timeout_ms: int | None = None
    fallback: list[Any] | None = None
    limits: dict[str, Any] | None = None
    debug: bool = False
    track: bool = True


@dataclass(slots=True)
class LimitsParams:
    max_lm_calls: int | None = None
    max_tokens: int | None = None
    max_memory_bytes: int | None = None
    max_cpu_ms: int | None = None


@dataclass(slots=True)
class LmTestParams:
    lm: str | None = None


@dataclass(slots=True)
class EvaluateParams:
    module: str
    examples: list[Any]
    metric: Any
    concurrency: int = 8
    options: dict[str, Any] | None = None


@dataclass(slots=True)
class OptimizeParams:
    module: str
    optimizer: str
    trainset: list[Any]
    metric: Any
    config: dict[str, Any] | None = None
    options: dict[str, Any] | None = None


@dataclass(slots=True)
class BootstrapParams:
    """`config` of the optimizer ``bootstrap_few_shot``."""

    max_bootstrapped_demos: int = 4
    max_labeled_demos: int = 16
    threshold: float = 1.0


@dataclass(slots=True)
class MetricParams:
    """A metric that the client answers."""

    tool: str
    timeout_ms: int | None = None


@dataclass(slots=True)
class ForkParams:
    settings: dict[str, Any] | None = None


@dataclass(slots=True)
class KillParams:
    pid: int
    signal: str = "TERM"


__all__ = [
    "CONTROL_METHODS",
    "BootstrapParams",
    "CallOptionsParams",
    "CallParams",
    "EchoParams",
    "EvaluateParams",
    "ExecutionParams",
    "ForkParams",
    "InitializeParams",
    "KillParams",
    "LimitsParams",
    "LmTestParams",
    "MetricParams",
    "ModuleCallParams",
    "ModuleParams",
    "Nothing",
    "OptimizeParams",
    "OptionsParams",
    "ProgramParams",
    "ShutdownParams",
]
