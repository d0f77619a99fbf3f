"""Stream events of one call, in order, as fast as the client takes them."""

from typing import Any

from python_bridge.engine.compat.features import present
from python_bridge.engine.interface import EventSink
from python_bridge.engine.streaming.chat import ChatSplitter
from python_bridge.engine.streaming.fields import FieldSplitter, Piece
from python_bridge.engine.streaming.json import JsonSplitter
from python_bridge.engine.streaming.xml import XmlSplitter

_SPLITTERS: dict[str, type[ChatSplitter] | type[JsonSplitter] | type[XmlSplitter]] = {
    "chat": ChatSplitter,
    "json": JsonSplitter,
    "xml": XmlSplitter,
}

THOUGHT = "next_thought"
"""Name of the output in which `dspy.ReAct` thinks."""


class StreamSink:
    """Takes the pieces of every LM call of a program and emits `token` events.

    It stands in `dspy.settings.send_stream`. Emitting waits for the client's credit, and so does the LM's stream.

    Args:
        emit: sends one event.
        adapter: how answers are written: ``"chat"``, ``"json"`` or ``"xml"``.
        predictors: name of each predictor by its identity; with more than one, events carry the name.
    """

    def __init__(self, emit: EventSink, adapter: str, predictors: dict[int, str]) -> None:
        self._emit = emit
        self._adapter = adapter
        self._predictors = predictors
        self.streamed: set[str] = set()
        self._thoughts: dict[int, str] = {}

    async def event(self, event: dict[str, Any]) -> None:
        """Emit an event that is no token."""
        await self._emit(event)

    async def send(self, value: Any) -> None:
        """Take what DSPy's own parts send. Their status messages go out; their raw chunks do not."""
        message = getattr(value, "message", None)
        if isinstance(message, str):
            await self._emit({"type": "status", "message": message})

    def open(self, predictor: Any) -> "AnswerStream":
        """One answer of an LM for `predictor` begins."""
        return AnswerStream(self, predictor)

    async def complete(self, outputs: dict[str, str]) -> None:
        """Give one `token` event for each output that did not stream."""
        for field, text in outputs.items():
            if field not in self.streamed:
                await self._emit({"type": "token", "field": field, "text": text, "last": True})

    def splitter(self, predictor: Any, text: str) -> FieldSplitter:
        """Return the splitter for an answer that begins with `text`."""
        fields = list(predictor.signature.output_fields)
        # A chat answer that could not be read is asked for again as JSON.
        name = "json" if self._adapter == "chat" and text.lstrip().startswith("{") else self._adapter
        if name == "xml" and "xml-entities" not in present():
            fields = []  # such an adapter takes answers as they stand: they go out when they are whole
        return _SPLITTERS[name](fields)

    async def pieces(self, predictor: Any, pieces: list[Piece]) -> bool:
        """Emit tokens; return whether there were any."""
        name = self._predictors.get(id(predictor)) if len(self._predictors) > 1 else None
        for field, text, last in pieces:
            event = {"type": "token", "field": field, "text": text, "last": last}
            if name is not None:
                event["predictor"] = name
            self.streamed.add(field)
            await self._emit(event)
            if field == THOUGHT:
                await self._thought(predictor, text, last)
        return bool(pieces)

    async def _thought(self, predictor: Any, text: str, last: bool) -> None:
        """Give an agent's thought once more as a whole, when it is complete."""
        thought = self._thoughts.pop(id(predictor), "") + text
        if last:
            await self._emit({"type": "thought", "text": thought})
        else:
            self._thoughts[id(predictor)] = thought


class AnswerStream:
    """One answer of one LM call."""

    def __init__(self, sink: StreamSink, predictor: Any) -> None:
        self._sink = sink
        self._predictor = predictor
        self._splitter: FieldSplitter | None = None

    async def feed(self, text: str) -> bool:
        """Take the next piece; return whether an event went out."""
        if self._splitter is None:
            if self._predictor is None or not text.strip():
                return False
            self._splitter = self._sink.splitter(self._predictor, text)
        return await self._sink.pieces(self._predictor, self._splitter.feed(text))

    async def finish(self) -> bool:
        """The answer is complete; return whether an event went out."""
        return self._splitter is not None and await self._sink.pieces(self._predictor, self._splitter.finish())


__all__ = ["AnswerStream", "StreamSink"]
