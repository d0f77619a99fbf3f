"""A module whose synchronous work ends when a file appears, and heeds no cancellation before: for tests of threads."""

import os
import time
from typing import Any

import dspy


class Spinning(dspy.Module):
    """Waits in its thread for the file that the variable SPINNING_UNTIL names."""

    signature = dspy.Signature("question -> answer")

    def forward(self, **inputs: Any) -> dspy.Prediction:
        while not os.path.exists(os.environ["SPINNING_UNTIL"]):
            time.sleep(0.01)
        return dspy.Prediction(answer="done")
