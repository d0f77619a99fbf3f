"""A `dspy.LM` over engines of `dspy.lm15`; for versions without these, one that nothing of DSPy's own ever calls."""

import copy
from typing import Any

import dspy

from python_bridge.engine.compat.features import has_engines, require


class _EngineLM(dspy.LM):
    """Keeps the engines. What does not come through a subclass's `acall` is refused: DSPy would ask litellm."""

    def __init__(
        self,
        model: str,
        *,
        engine: Any,
        async_engine: Any,
        cache: bool = False,
        num_retries: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(model, cache=cache, num_retries=num_retries, **options)
        self.engine: Any = engine  # type: ignore[misc]
        self._async_engine_spec = async_engine

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """
        Raises:
            BridgeError: `unavailable`.
        """
        require("engines", "an LM call from a thread that has left its call")

    async def aforward(self, *arguments: Any, **named: Any) -> Any:
        """
        Raises:
            BridgeError: `unavailable`.
        """
        require("engines", "an LM call by a request object")

    def copy(self, **kwargs: Any) -> Any:
        """Return a copy with other parameters; connections are shared."""
        copied = copy.copy(self)
        copied.history, copied.kwargs = [], dict(self.kwargs)
        for name, value in kwargs.items():
            if hasattr(self, name):
                setattr(copied, name, value)
            elif value is None:
                copied.kwargs.pop(name, None)
            else:
                copied.kwargs[name] = value
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.copy()


EngineLM: Any = dspy.LM if has_engines() else _EngineLM

__all__ = ["EngineLM"]
