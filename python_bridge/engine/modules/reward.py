"""A tool of the client that rates predictions."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.outputs import to_plain
from python_bridge.errors import BridgeError


class Reward:
    """Asks a tool for the reward of a prediction: its arguments are `inputs` and `outputs`, its value is a number.

    DSPy reads the source of reward functions to tell the LM about them; it gets that of this class.
    """

    def __init__(self, tool: dspy.Tool) -> None:
        self._tool = tool
        self.__name__ = str(tool.name)

    def __call__(self, inputs: Mapping[str, Any], prediction: Any) -> float:
        value = self._tool.func(inputs=to_plain(dict(inputs)), outputs=to_plain(dict(prediction.items())))
        return self._number(value)

    async def ask(self, inputs: Mapping[str, Any], prediction: Any) -> float:
        """Return the reward.

        Raises:
            BridgeError: `tool_error` when the tool fails or gives no number.
        """
        value = self._tool.func(inputs=to_plain(dict(inputs)), outputs=to_plain(dict(prediction.items())))
        return self._number(await value if inspect.isawaitable(value) else value)

    def _number(self, value: Any) -> float:
        if isinstance(value, bool | int | float) and math.isfinite(value):
            return float(value)
        raise BridgeError("tool_error", f"the reward `{self.__name__}` must give a number, not {value!r:.80}")


__all__ = ["Reward"]
