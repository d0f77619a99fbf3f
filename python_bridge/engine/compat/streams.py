"""No answer goes out twice: an adapter does not ask again in another format once a part of the answer is out."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dspy

from python_bridge.engine.compat.errors import LMError

_open: ContextVar[tuple["_Progress", ...]] = ContextVar("python_bridge_adapter_calls", default=())


class _Progress:
    __slots__ = ("emitted",)

    def __init__(self) -> None:
        self.emitted = False


def _note() -> None:
    for progress in _open.get():
        progress.emitted = True


def _notifier() -> Callable[[], None] | None:
    try:
        from dspy.clients.call_context import stream_emitted
    except ImportError:
        return None
    return stream_emitted


_theirs = _notifier()
stream_emitted = _theirs or _note
"""Tells the adapters at work that a part of their answer went out."""


@contextmanager
def _watched() -> Iterator[_Progress]:
    progress = _Progress()
    token = _open.set((*_open.get(), progress))
    try:
        yield progress
    finally:
        _open.reset(token)


class _OurFallback:
    """Stands before `dspy.ChatAdapter` where that one asks again as JSON without a look at what went out."""

    use_json_adapter_fallback: bool

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Ask; ask again as JSON when the answer cannot be read and nothing of it went out."""
        call: Any = super().__call__  # type: ignore[misc]
        if not self.use_json_adapter_fallback:
            return call(*arguments, **named)
        with _watched() as progress:
            try:
                return self._plain()(*arguments, **named)
            except Exception as error:
                if progress.emitted or isinstance(error, LMError):
                    raise
        return self._as_json()(*arguments, **named)

    async def acall(self, *arguments: Any, **named: Any) -> Any:
        """As `__call__`."""
        call: Any = super().acall  # type: ignore[misc]
        if not self.use_json_adapter_fallback:
            return await call(*arguments, **named)
        with _watched() as progress:
            try:
                return await self._plain().acall(*arguments, **named)
            except Exception as error:
                if progress.emitted or isinstance(error, LMError):
                    raise
        return await self._as_json().acall(*arguments, **named)

    def _plain(self) -> Any:
        """Return this adapter, which never asks again, with the same caches."""
        plain = copy.copy(self)
        plain.use_json_adapter_fallback = False
        return plain

    def _as_json(self) -> Any:
        return getattr(self, "_make_json_adapter_fallback", dspy.JSONAdapter)()


class _TheirFallback:
    """Does nothing: DSPy's own adapter looks."""


CarefulFallback: Any = _OurFallback if _theirs is None else _TheirFallback

__all__ = ["CarefulFallback", "stream_emitted"]
