"""A scripted LM: a real `dspy.LM` whose answers a test writes down beforehand."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_jsonable_python

from python_bridge.engine.offline.lm import Reply, local_lm, messages_of
from python_bridge.engine.offline.pieces import count_tokens, cut
from python_bridge.engine.offline.prompt import ChatMessage, Prompt, read_prompt
from python_bridge.engine.offline.rendering import render
from python_bridge.testing.gate import Gate

_MAX_RECORDED = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the LM got.

    Attributes:
        prompt: the messages as the adapter meant them: its name, inputs, output fields, demos.
        request: DSPy's own request (`dspy.lm15.Request`), with `config`, `tools` and `model`.
        at: `time.monotonic()` of its arrival.
    """

    messages: list[ChatMessage]
    prompt: Prompt
    request: Any
    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer: `fields` or `text`, or an `error`, which may also follow the beginning of a streamed answer.

    Attributes:
        fields: values by output field, written in the format of whichever adapter asks.
        text: the completion as it is, well-formed or not.
        error: raised instead of the answer; in a stream, raised before piece `at`.
        gate: waited at before piece `at` of a stream, and before an answer that is not streamed.
        at: number of the piece.
        pieces: the completion cut for streaming; ``None`` cuts it into words.
        usage: prompt and completion tokens; ``None`` counts words and punctuation marks.
        reached: opened by the LM when it comes to piece `at`.
    """

    fields: Mapping[str, Any] | None = None
    text: str | None = None
    error: BaseException | None = None
    gate: Gate | None = None
    at: int = 0
    pieces: Sequence[str] | None = None
    usage: tuple[int, int] | None = None
    reached: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        if self.fields is not None and self.text is not None:
            raise ValueError("an Answer is made of fields or of text, not of both")
        if self.fields is None and self.text is None and self.error is None:
            raise ValueError("an Answer needs fields, text or an error")


Script = Mapping[str, Any] | str | BaseException | Answer
"""Output fields, raw text, an error to raise, or all details."""
ScriptItem = Script | Callable[[Asked], Script]


class ScriptExhausted(AssertionError):
    """The LM was asked more often than the script has answers. DSPy shows it as `dspy.LMUnexpectedError`."""


class ScriptedLM:
    """Answers in the order of a script, over DSPy's real request path. Safe for concurrent calls.

    Args:
        answers: see `ScriptItem`; a callable gets the request and returns an answer.
        default: given when the answers are used up; without it that is an error.
        model: the LM's name.
        options: passed to `dspy.LM`: `temperature`, `cache`, `num_retries` (0 unless said), …

    Use `lm` where a `dspy.LM` is wanted; `asked` has the last 10,000 requests.
    """

    def __init__(
        self,
        answers: Iterable[ScriptItem] = (),
        *,
        default: ScriptItem | None = None,
        model: str = "scripted/lm",
        **options: Any,
    ) -> None:
        self._answers = deque(answers)
        self._default = default
        self._lock = threading.Lock()
        self.asked: deque[Asked] = deque(maxlen=_MAX_RECORDED)
        self.lm = local_lm(model, self, **options)

    def push(self, *answers: ScriptItem) -> None:
        """Add answers to the end of the script."""
        with self._lock:
            self._answers.extend(answers)

    @property
    def left(self) -> int:
        """Number of answers that nobody asked for yet."""
        return len(self._answers)

    def reply(self, request: Any) -> Reply:
        """Answer a synchronous call (called by the engine)."""
        return self._next(request)

    async def areply(self, request: Any) -> Reply:
        """Answer an asynchronous call (called by the engine)."""
        return self._next(request)

    def _next(self, request: Any) -> Reply:
        messages = messages_of(request)
        asked = Asked(messages, read_prompt(messages), request, time.monotonic())
        with self._lock:
            self.asked.append(asked)
            item = self._answers.popleft() if self._answers else self._default
        if item is None:
            raise ScriptExhausted(f"the script has no answer for request number {len(self.asked)}")
        return _reply(_answer(item(asked) if callable(item) else item), asked)


def _answer(script: Script) -> Answer:
    if isinstance(script, Answer):
        return script
    if isinstance(script, str):
        return Answer(text=script)
    if isinstance(script, BaseException):
        return Answer(error=script)
    return Answer(fields=script)


def _reply(answer: Answer, asked: Asked) -> Reply:
    text = answer.text or ""
    if answer.fields is not None:
        text = render(asked.prompt.adapter, to_jsonable_python(dict(answer.fields)))
    pieces = tuple(answer.pieces or cut(text)) or ("",)
    stop = min(answer.at, len(pieces) - 1)

    def arrive(number: int) -> bool:
        if number == stop:
            answer.reached.open()
        return number == stop

    def pause(number: int) -> None:
        if arrive(number):
            if answer.gate is not None:
                answer.gate.wait(None)
            _fail(answer.error)

    async def apause(number: int) -> None:
        if arrive(number):
            if answer.gate is not None:
                await answer.gate.passed(None)
            _fail(answer.error)

    counted = sum(count_tokens(content) for _, content in asked.messages), count_tokens(text)
    return Reply(text, pieces, *(answer.usage or counted), pause, apause, paced=True)


def _fail(error: BaseException | None) -> None:
    if error is not None:
        raise error


__all__ = ["Answer", "Asked", "ScriptExhausted", "ScriptItem", "ScriptedLM"]
