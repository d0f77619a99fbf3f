"""What a session has used in all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over the calls of a session. `by_model`: model → the three counts of tokens; `cost` in US dollars."""

    calls: int = 0
    lm_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost: float = 0.0
    by_model: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])

    def plus(self, usage: Mapping[str, Any], cost: float | None) -> "Usage":
        """Return the sums with one call more; `usage` is that of a prediction."""
        by_model = dict(self.by_model)
        for model, counts in usage.get("by_model", {}).items():
            before = by_model.get(model, {})
            by_model[model] = {name: before.get(name, 0) + (counts.get(name) or 0) for name in _COUNTS}
        return Usage(
            calls=self.calls + 1,
            lm_calls=self.lm_calls + (usage.get("lm_calls") or 0),
            prompt_tokens=self.prompt_tokens + (usage.get("prompt_tokens") or 0),
            completion_tokens=self.completion_tokens + (usage.get("completion_tokens") or 0),
            total_tokens=self.total_tokens + (usage.get("total_tokens") or 0),
            cost=self.cost + (cost or 0.0),
            by_model=by_model,
        )

    def to_map(self) -> dict[str, Any]:
        """Return the sums as data."""
        return {
            "calls": self.calls,
            "lm_calls": self.lm_calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "cost": self.cost,
            "by_model": {model: dict(counts) for model, counts in self.by_model.items()},
        }

    @classmethod
    def from_map(cls, values: Mapping[str, Any]) -> "Usage":
        """Read what `to_map` gave; unknown members are left out."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


__all__ = ["Usage"]
