"""Predictions → plain protocol values."""

import datetime
import decimal
import enum
import json
import re
import sys
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, cast

import dspy
from pydantic import BaseModel

from python_bridge.engine.adapters.readable import is_lazy
from python_bridge.engine.inputs import MARKER
from python_bridge.errors import BridgeError

_SCALARS = (int, float, bool, bytes, type(None))
_SURROGATES = re.compile("[\ud800-\udfff]")


def to_plain(value: Any) -> Any:
    """Return a value without classes of DSPy or pydantic.

    Models become maps, enum members their value, decimals and UUIDs text, times and durations ISO 8601 text, dates
    stay dates, an image is its data URI or URL. What the wire knows itself (numpy arrays, Arrow tables, tuples, sets)
    stays.
    """
    if type(value) is str:
        return _text(value)
    if type(value) in _SCALARS:
        return value
    if isinstance(value, enum.Enum):
        return to_plain(value.value)
    if isinstance(value, BaseModel):
        return _model(value)
    if isinstance(value, Mapping):
        return {_text(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return _collection(value)
    return _other(value)


def _text(value: str) -> str:
    """Join the halves of a character that broken JSON escapes one by one; a half that stands alone is no text."""
    if value.isascii() or not _SURROGATES.search(value):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _model(value: BaseModel) -> Any:
    if isinstance(value, dspy.Type) and not isinstance(value, dspy.Code):
        dumped = value.model_dump(mode="json")
        if not isinstance(dumped, str):
            return to_plain(dumped)
        if not dumped.startswith(MARKER):
            return dumped
        if isinstance(value, dspy.Image):  # the text that an input of this type takes
            return value.url
    return {name: to_plain(getattr(value, name)) for name in type(value).model_fields}


def _collection(value: Iterable[Any]) -> Any:
    items = [to_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(items)
    if isinstance(value, set | frozenset):
        try:
            return frozenset(items)
        except TypeError:  # members that became maps or lists
            return items
    return items


def _other(value: Any) -> Any:
    if isinstance(value, datetime.datetime | datetime.date):
        return value
    if isinstance(value, datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return _duration(value)
    if isinstance(value, decimal.Decimal | uuid.UUID | complex):
        return str(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    if isinstance(value, deque) or is_lazy(value):
        return [to_plain(item) for item in value]
    if isinstance(value, dspy.Example):
        return {str(name): to_plain(item) for name, item in value.items()}
    return value


def _duration(value: datetime.timedelta) -> str:
    from pydantic import TypeAdapter

    return TypeAdapter(datetime.timedelta).dump_python(value, mode="json")


def as_text(value: Any) -> str:
    """Return an output as the text that a stream gives for it: texts as they are, the rest as JSON."""
    plain = to_plain(value)
    if isinstance(plain, str):
        return plain
    return json.dumps(plain, ensure_ascii=False, default=_json_fallback)


def _json_fallback(value: Any) -> Any:
    return list(value) if isinstance(value, set | frozenset) else str(value)


def prediction_outputs(prediction: Any, fields: Iterable[str]) -> dict[str, Any]:
    """Return the fields of a prediction that the signature declares, in its order, then what the module added.

    Raises:
        BridgeError: `program_error` for what has no named values.
    """
    items = getattr(prediction, "items", None)
    if not callable(items):
        text = f"the program gave {type(prediction).__name__}; its forward must return a dspy.Prediction or a map"
        raise BridgeError("program_error", f"{text}, as dspy.Prediction(answer=…)")
    store = dict(cast("Any", items()))
    declared = {name: to_plain(store.pop(name)) for name in fields if name in store}
    return declared | {str(name): to_plain(value) for name, value in store.items()}


def prediction_completions(prediction: Any, fields: Iterable[str]) -> list[dict[str, Any]] | None:
    """Return all completions where there are more than one, else ``None``."""
    completions = getattr(prediction, "completions", None)
    if completions is None or len(completions) < 2:
        return None
    names = list(fields)
    return [prediction_outputs(completions[index], names) for index in range(len(completions))]


__all__ = ["as_text", "prediction_completions", "prediction_outputs", "to_plain"]
