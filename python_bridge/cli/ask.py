"""`python-bridge lm` and `python-bridge stats`: is there an LM, and what has a server done?"""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from python_bridge.cli.ending import EXIT_FAILED, fail
from python_bridge.engine.interface import CallContext
from python_bridge.errors import BridgeError
from python_bridge.settings import Settings, SettingsError, load_settings

Config = Annotated[Path | None, typer.Option(help=r"TOML file with \[lms.NAME] tables (env: DSPEX_CONFIG).")]
Lm = Annotated[str | None, typer.Option(help="Model of the default LM (env: DSPEX_LM).")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

lm_app = typer.Typer(name="lm", help="Look at the LMs of the settings.", no_args_is_help=True)


@lm_app.command("list")
def list_lms(lm: Lm = None, config: Config = None, as_json: AsJson = False) -> None:
    """List the LMs of the settings; none is asked.

    Exit status: 0, 2 for wrong settings.
    """
    rows = _learning(_settings(lm, config)).lms()
    if as_json:
        typer.echo(json.dumps({"lms": rows}))
        return
    table = Table("name", "model", "default", "cache", box=None)
    for row in rows:
        table.add_row(row["name"], row["model"], "yes" if row["default"] else "", "yes" if row["cache"] else "")
    Console().print(table)


@lm_app.command("test")
def ask_lm(
    name: Annotated[str | None, typer.Argument(help="Name in the settings; the default LM when not given.")] = None,
    lm: Lm = None,
    config: Config = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Ask an LM for one word: does it answer, how fast, at what cost?

    Exit status: 0, 1 when it does not answer, 2 for wrong settings.
    """
    settings = _settings(lm, config)
    try:
        told = asyncio.run(_ask(settings, name, timeout))
    except BridgeError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "lm": name or settings.default_lm, **error.to_object()}))
        else:
            typer.echo(f"failed: {error.message}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    cost = "" if told["cost"] is None else f", ${told['cost']:.6f}"
    text = f"{told['lm']} ({told['model']}) answers in {told['latency_ms']:.0f} ms{cost}"
    typer.echo(json.dumps(told) if as_json else text)


async def _ask(settings: Settings, name: str | None, seconds: float) -> dict[str, Any]:
    from python_bridge.engine.load import load_engine

    engine = load_engine(settings)
    try:
        async with asyncio.timeout(seconds):
            return await engine.learning.test_lm(name, CallContext("lm-test"))
    except TimeoutError:
        raise BridgeError("timeout", f"the LM did not answer within {seconds:g} s") from None
    finally:
        await engine.close()


def _learning(settings: Settings) -> Any:
    from python_bridge.engine.load import load_engine

    try:
        return load_engine(settings).learning
    except BridgeError as error:
        fail(error.message)


def stats(
    url: Annotated[str, typer.Option(envvar="DSPEX_SERVER", help="Server.")] = "http://127.0.0.1:8000",
    token: Annotated[str | None, typer.Option(envvar="DSPEX_TOKEN", help="Bearer token.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a server has executed: counts, times, errors, cache, memory.

    Exit status: 0, 1 when the server does not answer or refuses.
    """
    try:
        from python_bridge.client import Client
    except ImportError as error:
        fail(str(error))
    try:
        with Client(url, token, timeout=10, retries=0) as client:
            told = client.stats()
    except BridgeError as error:
        fail(f"failed: {error.message}", EXIT_FAILED)
    if as_json:
        typer.echo(json.dumps(told))
        return
    table = Table("what", "value", box=None)
    for name, value in _flat(told, ""):
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    Console().print(table)


def _flat(values: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(cast("dict[str, Any]", value), f"{prefix}{name}.")
        elif isinstance(value, list):
            numbered = {str(number): entry for number, entry in enumerate(cast("list[Any]", value))}
            rows += _flat(numbered, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _settings(lm: str | None, config: Path | None) -> Settings:
    try:
        return load_settings({"lm": lm} if lm else None, config=config)
    except SettingsError as error:
        fail(str(error))


__all__ = ["ask_lm", "list_lms", "lm_app", "stats"]
