"""The flags of `python-bridge worker`, read without typer: the pool waits for every millisecond of a start."""

from pathlib import Path
from typing import Any

from python_bridge.settings import Settings, SettingsError, load_settings

VALUE_FLAGS: dict[str, str] = {
    "--lm": "lm",
    "--lm-api-base": "lm_api_base",
    "--default-lm": "default_lm",
    "--adapter": "adapter",
    "--max-in-flight": "max_in_flight",
    "--max-queue": "max_queue",
    "--max-frame-bytes": "max_frame_bytes",
    "--max-programs": "max_programs",
    "--attachment-bytes": "attachment_bytes",
    "--drain-ms": "drain_ms",
    "--allow-import": "allowed_imports",
    "--listen": "listen",
    "--engine": "engine",
    "--store": "store",
    "--instance": "instance",
}
"""Flags with a value, and the setting that each one is."""


def parse_flags(arguments: list[str]) -> tuple[dict[str, Any], Path | None]:
    """Return the settings that the command line names, and the path of the TOML file.

    Raises:
        SettingsError: an argument is unknown, or lacks its value.
    """
    values: dict[str, Any] = {}
    config: Path | None = None
    rest = list(arguments)
    while rest:
        flag, given, value = rest.pop(0).partition("=")
        if flag == "--debug" and not given:
            values["debug"] = True
            continue
        if flag != "--config" and flag not in VALUE_FLAGS:
            known = ", ".join(sorted([*VALUE_FLAGS, "--config", "--debug"]))
            raise SettingsError(f"python-bridge worker does not know {flag!r}; known are {known}")
        if not given:
            if not rest:
                raise SettingsError(f"{flag} needs a value")
            value = rest.pop(0)
        if flag == "--config":
            config = Path(value)
        elif flag == "--allow-import":
            values["allowed_imports"] = [*values.get("allowed_imports", []), value]
        else:
            values[VALUE_FLAGS[flag]] = value
    return values, config


def settings_from(arguments: list[str]) -> Settings:
    """Return the settings of a worker with these arguments, over environment and file.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    flags, config = parse_flags(arguments)
    return load_settings(flags, config=config)


__all__ = ["VALUE_FLAGS", "parse_flags", "settings_from"]
