"""`python-bridge config show` and `python-bridge doctor`: what a worker would run with, and whether it can."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from python_bridge.cli.doctor import FAILURE, OK, Check, examine
from python_bridge.cli.ending import fail
from python_bridge.cli.settings_table import Row, descriptions, settings_rows
from python_bridge.cli.worker_flags import LIST_FLAGS, VALUE_FLAGS
from python_bridge.settings import SettingsError, load_settings

_EXIT_FAILURE = 1
_MARKS = {OK: "ok     ", FAILURE: "FAILURE"}
_OWN_HELP = {
    "lm": "Model for calls that name none (env: DSPEX_LM).",
    "lm_api_base": "URL of an OpenAI-compatible server (env, for models openai/…: OPENAI_BASE_URL, OPENAI_API_BASE).",
}

config_app = typer.Typer(name="config", help="Tells of the settings.", no_args_is_help=True)


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each flag of a worker; it gets them as keyword arguments."""
    kept = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters = [*kept, *(_option(flag, name) for flag, name in VALUE_FLAGS.items())]
    config = typer.Option("--config", help="TOML file, with \\[lms.NAME] tables (env: DSPEX_CONFIG).")
    debug = typer.Option("--debug", help="Tracebacks in errors; dumps and profiles.")
    parameters.append(_parameter("config", Annotated[str | None, config], None))
    parameters.append(_parameter("debug", Annotated[bool, debug], False))
    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _option(flag: str, name: str) -> inspect.Parameter:
    text = _OWN_HELP.get(name) or descriptions()[name].replace("`", "")
    option = typer.Option(flag, help=text[0].upper() + text[1:])
    kind: Any = list[str] | None if flag in LIST_FLAGS else str | None
    return _parameter(name, Annotated[kind, option], None)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _read_flags(flags: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    config = flags.pop("config")
    given = {name: value for name, value in flags.items() if value not in (None, [], False)}
    return given, Path(config) if config else None


@config_app.callback()
def _config() -> None:
    """Tells of the settings."""


@config_app.command("show")
@takes_settings
def show(
    as_json: Annotated[bool, typer.Option("--json", help="A list of maps: name, value, source.")] = False, **flags: Any
) -> None:
    """Show every setting of a worker that is started here with these flags, and where it comes from.

    Flags win over the environment (DSPEX_<SETTING>), this over the TOML file, this over the defaults. Secrets are
    not shown.
    """
    given, config = _read_flags(flags)
    try:
        rows = settings_rows(given, config=config)
    except SettingsError as error:
        _refuse("config", error)
    if as_json:
        typer.echo(json.dumps([{"name": r.name, "value": r.value, "source": r.source} for r in rows], indent=2))
    else:
        _print_rows(rows)


def _print_rows(rows: list[Row]) -> None:
    wide = max(len(row.name) for row in rows)
    values = [json.dumps(row.value, ensure_ascii=False) for row in rows]
    width = min(max(len(value) for value in values), 60)
    for row, value in zip(rows, values, strict=True):
        typer.echo(f"{row.name:{wide}}  {value:{width}}  {row.source}")


@takes_settings
def doctor(as_json: Annotated[bool, typer.Option("--json", help="A list of maps.")] = False, **flags: Any) -> None:
    """Check whether workers can run here; say what to do where they cannot. Status 1 when something fails."""
    given, config = _read_flags(flags)
    try:
        checks = examine(load_settings(given, config=config))
    except SettingsError as error:
        _refuse("doctor", error)
    if as_json:
        typer.echo(json.dumps([check.to_map() for check in checks], indent=2, ensure_ascii=False))
    else:
        _print_checks(checks)
    if any(check.status == FAILURE for check in checks):
        raise typer.Exit(_EXIT_FAILURE)


def _print_checks(checks: list[Check]) -> None:
    wide = max(len(check.name) for check in checks)
    for check in checks:
        typer.echo(f"{_MARKS.get(check.status, check.status)}  {check.name:{wide}}  {check.found}")
        if check.fix:
            typer.echo(f"{'':7}  {'':{wide}}  → {check.fix}")
    failures = sum(check.status == FAILURE for check in checks)
    typer.echo(f"{len(checks)} checks, {failures} failed" if failures else f"{len(checks)} checks, none failed")


def _refuse(command: str, error: SettingsError) -> NoReturn:
    fail(f"python-bridge {command}: {error}")


__all__ = ["config_app", "doctor", "takes_settings"]
