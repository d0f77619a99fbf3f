"""The flags of `python-bridge worker`, read without typer: the pool waits for every millisecond of a start."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from python_bridge.settings import Settings, SettingsError, load_settings

# A token would show in `ps`.
_NOT_FLAGS = ("lms", "embedders", "debug", "token", "allowed_imports", "extras", "capabilities")
LIST_FLAGS: dict[str, str] = {"--allow-import": "allowed_imports", "--extra": "extras", "--capability": "capabilities"}
"""Flags that may be given more than once."""

VALUE_FLAGS: dict[str, str] = {
    "--lm": "lm",
    "--lm-api-base": "lm_api_base",
    **{f"--{f.name.replace('_', '-')}": f.name for f in fields(Settings) if f.name not in _NOT_FLAGS},
    **LIST_FLAGS,
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
        elif flag in LIST_FLAGS:
            name = LIST_FLAGS[flag]
            values[name] = [*values.get(name, []), value]
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


def split_known(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments that a worker understands, and the others, each with the value that follows it."""
    known: list[str] = []
    others: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        flag, given, _ = argument.partition("=")
        is_known = flag in ("--config", "--debug") or flag in VALUE_FLAGS
        taken = known if is_known else others
        taken.append(argument)
        wants_value = flag != "--debug" if is_known else argument.startswith("--")
        if wants_value and not given and rest and not rest[0].startswith("--"):
            taken.append(rest.pop(0))
    return known, others


__all__ = ["LIST_FLAGS", "VALUE_FLAGS", "parse_flags", "settings_from", "split_known"]
