"""The settings for people: what each one means, where it comes from, how it is given."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

from python_bridge.cli.worker_flags import LIST_FLAGS, VALUE_FLAGS
from python_bridge.services.observability.redaction import REDACTED, Redactor, secrets_of
from python_bridge.settings import EmbedderSettings, LmSettings, Settings, explain_settings

_SECRETS = ("token",)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: its value as it may be shown, and its source."""

    name: str
    value: Any
    source: str


def settings_rows(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, config: Path | None = None
) -> list[Row]:
    """Return every setting with its source, LMs last; secrets are not shown.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    settings, sources = explain_settings(flags, environ, config)
    redactor = Redactor(secrets_of(settings, environ))
    rows = [Row(f.name, _shown(f.name, getattr(settings, f.name), redactor), sources[f.name]) for f in _fields()]
    for kind in ("lms", "embedders"):
        for name, entry in getattr(settings, kind).items():
            given = ((f.name, getattr(entry, f.name), f.default) for f in fields(entry))
            table = {field: value for field, value, default in given if value not in (None, default)}
            rows.append(Row(f"{kind}.{name}", redactor.value(table), sources[f"{kind}.{name}"]))
    return rows


def _shown(name: str, value: Any, redactor: Redactor) -> Any:
    if value is not None and name in _SECRETS:
        return REDACTED
    return redactor.value(value)


def _fields() -> list[Field[Any]]:
    return [f for f in fields(Settings) if f.name not in ("lms", "embedders")]


def descriptions(cls: type = Settings) -> dict[str, str]:
    """Return what each field means, from the `Attributes` of the class."""
    section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`") for name, text in entries}


def flag_of(name: str) -> str | None:
    """Return the flag of a setting, ``None`` when there is none."""
    if name == "debug":
        return "--debug"
    return next((flag for flag, setting in {**VALUE_FLAGS, **LIST_FLAGS}.items() if setting == name), None)


def settings_markdown() -> str:
    """Return the tables of settings of the guide on operations."""
    texts = descriptions()
    lines = ["| setting | flag | default | meaning |", "|---|---|---|---|"]
    for item in _fields():
        flag = flag_of(item.name)
        lines.append(f"| `{item.name}` | {f'`{flag}`' if flag else '–'} | {_default(item)} | {texts[item.name]} |")
    lines += ["", "| `[lms.NAME]` | default | meaning |", "|---|---|---|"]
    texts = {"temperature": "passed to the model", "max_tokens": "passed to the model", **descriptions(LmSettings)}
    lines += [f"| `{item.name}` | {_default(item)} | {texts[item.name]} |" for item in fields(LmSettings)]
    lines += ["", "| `[embedders.NAME]` | default | meaning |", "|---|---|---|"]
    texts = descriptions(EmbedderSettings)
    lines += [f"| `{item.name}` | {_default(item)} | {texts[item.name]} |" for item in fields(EmbedderSettings)]
    return "\n".join(lines) + "\n"


def _default(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "none" if item.default_factory is not MISSING else "needed"
    if item.default is None or item.default == ():
        return "none"
    return f"`{str(item.default).lower() if isinstance(item.default, bool) else item.default}`"


__all__ = ["Row", "descriptions", "flag_of", "settings_markdown", "settings_rows"]
