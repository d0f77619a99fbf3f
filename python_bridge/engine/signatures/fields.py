"""Signature classes that keep their maps of fields: DSPy makes a new one at each look, some fifteen times a call."""

from functools import lru_cache
from typing import Any

import dspy

_Plain: Any = type(dspy.Signature)
_MADE_BY_DSPY = dspy.Signature.__module__


class _Keeping(_Plain):
    """The class of signature classes that keep their fields. Callers get copies, as before."""

    @property
    def input_fields(self) -> dict[str, Any]:
        return _fields(self)[0].copy()

    @property
    def output_fields(self) -> dict[str, Any]:
        return _fields(self)[1].copy()


@lru_cache(maxsize=1024)
def _fields(signature: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return _Plain.input_fields.fget(signature), _Plain.output_fields.fget(signature)


def keep_fields(signature: Any) -> None:
    """Let a signature class keep its fields, if it was made of text or maps: classes of others stay as they are."""
    if type(signature) is _Plain and signature.__module__ == _MADE_BY_DSPY and signature is not dspy.Signature:
        signature.__class__ = _Keeping


__all__ = ["keep_fields"]
