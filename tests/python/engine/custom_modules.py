"""Modules that a server's settings allow to import, for the tests."""

import threading
from typing import Any

import dspy


class Shout(dspy.Module):
    """Synchronous only."""

    def __init__(self, mark: str = "!") -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.mark = mark

    def forward(self, question: str) -> dspy.Prediction:
        answer = self.ask(question=question).answer
        return dspy.Prediction(answer=answer.upper() + self.mark, thread=threading.current_thread().name)


class Twice(dspy.Module):
    """Asynchronous, two predictors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> draft")
        self.second = dspy.Predict("draft -> answer")

    async def aforward(self, question: str) -> dspy.Prediction:
        draft = await self.first.acall(question=question)
        return await self.second.acall(draft=draft.draft)


class Totals(dspy.Module):
    """Takes a table and a matrix as their libraries' objects, and gives such; asks no LM."""

    def forward(self, sales: Any, weights: Any) -> dspy.Prediction:
        totals = sales.group_by("shop").aggregate([("sold", "sum")]).sort_by("shop")
        return dspy.Prediction(
            totals=totals, scaled=weights * 2, same=sales, kinds=[type(sales).__name__, weights.dtype.name]
        )


def broken() -> dspy.Module:
    """Fail while the module is made."""
    raise RuntimeError("no weights")


NOTHING = 5
