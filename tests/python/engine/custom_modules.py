"""Modules that a server's settings allow to import, for the tests."""

import threading

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


def broken() -> dspy.Module:
    """Fail while the module is made."""
    raise RuntimeError("no weights")


NOTHING = 5
