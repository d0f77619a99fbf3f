"""Short forms of DSPy's rich inputs: what clients send is plain data, what DSPy takes are its own classes.

Nothing is read from files nor fetched: an image is a data URI, a URL that goes to the LM's provider as it is, or bytes.
"""

import base64
import typing
from collections.abc import Callable
from typing import Any

import dspy

from python_bridge.engine.compat.features import require

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
    (b"%PDF", "application/pdf"),
)


def short_form(annotation: Any) -> Callable[[Any], Any] | None:
    """Return what turns short forms of a type into what pydantic reads, or ``None`` for types that have none."""
    if annotation is dspy.Image:
        return image
    if annotation is dspy.History:
        return history
    if typing.get_origin(annotation) is list and (inner := short_form(typing.get_args(annotation)[0])) is not None:
        return lambda value: [inner(item) for item in value] if isinstance(value, list) else value
    return None


def check_media(name: str, annotation: Any) -> None:
    """Refuse types of dspy that read the worker's files, or addresses that callers choose, as some versions do.

    Raises:
        BridgeError: `unavailable`.
    """
    if any(annotation is getattr(dspy, kind, None) for kind in ("Image", "Audio", "File")):
        require("media", f"the type of the field `{name}`")
    for argument in typing.get_args(annotation):
        check_media(name, argument)


def image(value: Any) -> Any:
    """Take a data URI, a http(s) URL or the bytes of an image."""
    if isinstance(value, bytes):
        kind = next((kind for magic, kind in _MAGIC if value.startswith(magic)), "application/octet-stream")
        return {"url": f"data:{kind};base64,{base64.b64encode(value).decode()}"}
    if isinstance(value, str) and value.startswith(("data:", "https://", "http://")):
        return {"url": value}
    return value


def history(value: Any) -> Any:
    """Take the list of messages alone."""
    return {"messages": value} if isinstance(value, list) else value


__all__ = ["check_media", "history", "image", "short_form"]
