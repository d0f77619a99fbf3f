"""Takes secrets out of texts and values, before they are logged or sent."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

from python_bridge.settings import Settings

REDACTED = "[redacted]"
_MAX_LEVELS = 8
_MIN_SECRET = 6  # shorter ones would blot out ordinary text
_NAME = r"(?:api[-_]?key|access[-_]?key|private[-_]?key|token|secret|password|passwd|authorization|cookie|credentials?)"


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Compiled with the first text: a worker that has nothing to say starts without them."""
    return [
        (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{4,}", re.IGNORECASE), rf"\1 {REDACTED}"),
        (re.compile(r"\b(?:sk|pk|rk|ghp|xox[abp])[-_][A-Za-z0-9_-]{8,}"), REDACTED),
        (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), rf"\1{REDACTED}@"),
        (
            re.compile(rf"({_NAME}[\"']?\s*[=:]\s*[\"']?)(?!Bearer|Basic|\[)[^\s\"',;&}}]+", re.IGNORECASE),
            rf"\1{REDACTED}",
        ),
    ]


class Redactor:
    """Replaces secrets by ``[redacted]``: members with telling names, texts that look like keys, and known values.

    Args:
        secrets: values that must not be shown, wherever they stand.
    """

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        known = sorted({secret for secret in secrets if secret and len(secret) >= _MIN_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(secret) for secret in known)) if known else None

    def text(self, text: str) -> str:
        """Return `text` without secrets."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for pattern, replacement in _patterns():
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any, levels: int = _MAX_LEVELS) -> Any:
        """Return a copy of plain data without secrets; what lies deeper than 8 levels is left out."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping | list | tuple) and levels == 0:
            return "[…]"
        if isinstance(value, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            return {name: self.member(str(name), item, levels - 1) for name, item in items}
        if isinstance(value, list | tuple):
            return [self.value(item, levels - 1) for item in cast("Iterable[Any]", value)]
        return value

    def member(self, name: str, value: Any, levels: int = _MAX_LEVELS) -> Any:
        """Return the value of a member called `name` without secrets."""
        if value is not None and not isinstance(value, bool) and is_secret_name(name):
            return REDACTED
        return self.value(value, levels)


def is_secret_name(name: str) -> bool:
    """Return whether a member of this name holds a secret: ``api_key``, ``Authorization``, but not ``max_tokens``."""
    return re.search(_NAME + "$", name, re.IGNORECASE) is not None


def secrets_of(settings: Settings, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the values that must never be shown: keys of LMs and embedders, the token, the password of the store."""
    environ = os.environ if environ is None else environ
    tables = [*settings.lms.values(), *settings.embedders.values()]
    names = [table.api_key_env for table in tables if table.api_key_env]
    secrets = [environ.get(name) for name in (*names, "OPENAI_API_KEY", "ANTHROPIC_API_KEY")]
    return [secret for secret in (*secrets, settings.token, _password(settings.store)) if secret]


def _password(url: str | None) -> str | None:
    try:
        return urlsplit(url).password if url else None
    except ValueError:  # no URL, then; whoever opens it says so
        return None


__all__ = ["REDACTED", "Redactor", "is_secret_name", "secrets_of"]
