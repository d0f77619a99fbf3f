"""`python-bridge sessions`: looks into the store of sessions, takes sessions out and puts them in."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from python_bridge.cli.ending import fail
from python_bridge.cli.sessions_store import StoredSessions, open_sessions
from python_bridge.errors import BridgeError
from python_bridge.services.observability.redaction import Redactor, secrets_of
from python_bridge.settings import Settings, SettingsError, load_settings
from python_bridge.wire import json as wire_json

EXIT_FAILURE, EXIT_USAGE = 1, 2
_MOST_BYTES = 256 * 1024 * 1024
_STEERS = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # terminals, and the direction of text

sessions_app = typer.Typer(name="sessions", help="Lists, shows, exports, imports and closes sessions.")

Store = Annotated[str | None, typer.Option(help="Database: sqlite:///path or postgresql://… (env: DSPEX_STORE).")]
Instance = Annotated[str | None, typer.Option(help="Name of the SQLite file (env: DSPEX_INSTANCE).")]
Config = Annotated[Path | None, typer.Option(help="TOML file (env: DSPEX_CONFIG).")]
Tenant = Annotated[str | None, typer.Option(help="Whose sessions; those without a tenant by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
SessionId = Annotated[str, typer.Argument(help="Id of the session.")]


@sessions_app.callback()
def _sessions() -> None:
    """Lists, shows, exports, imports and closes sessions.

    Works on the store itself; workers may run meanwhile. Status 1 when something is not there or refused, 2 for
    wrong options.
    """


@sessions_app.command("list")
def list_sessions(
    limit: Annotated[int, typer.Option(min=1, help="Sessions at most.")] = 1_000,
    store: Store = None,
    instance: Instance = None,
    config: Config = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions that are alive, by id."""
    settings = _settings(store, instance, config)
    items = _run(settings, tenant, lambda sessions: sessions.listing(limit))
    if as_json:
        _print_json(items)
        return
    table = Table("session", "lm", "entries", "bytes", "calls", "used last", "ends", box=None)
    for item in items:
        calls = str(item["usage"]["calls"])
        texts = (item["session"], item["lm"] or "", str(item["entries"]), str(item["bytes"]), calls)
        cells = (*texts, _moment(item["updated_at"]), _moment(item["expires_at"]))
        table.add_row(*(Text(cell) for cell in cells))  # an id may look like markup
    Console(width=None if sys.stdout.isatty() else 160).print(table if items else "no sessions")


@sessions_app.command()
def show(
    session: SessionId,
    entries: Annotated[int, typer.Option(min=0, help="So many of the newest entries of the history too.")] = 0,
    store: Store = None,
    instance: Instance = None,
    config: Config = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show what a session is: names, counts, sums and times. Whatever looks like a secret is left out."""
    settings = _settings(store, instance, config)
    shown = _run(settings, tenant, lambda sessions: sessions.shown(session, entries))
    shown = Redactor(secrets_of(settings)).value(shown)
    if as_json:
        _print_json(shown)
        return
    wide = max(len(name) for name in shown)
    for name, value in shown.items():
        for number, line in enumerate(_lines(value)):
            typer.echo(f"{name if number == 0 else '':{wide}}  {line}")


@sessions_app.command("export")
def export_session(
    session: SessionId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File, of mode 0600; else to stdout.")] = None,
    store: Store = None,
    instance: Instance = None,
    config: Config = None,
    tenant: Tenant = None,
) -> None:
    """Write a session whole, as JSON that `import` reads: its values and its history stand there in clear."""
    document = _run(_settings(store, instance, config), tenant, lambda sessions: sessions.export(session))
    text = _json(json.loads(wire_json.encode(document))) + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)  # it may have been there, open to others
            file.write(text)
    except OSError as error:
        _fail(f"{output} cannot be written: {error.strerror}", EXIT_USAGE)


@sessions_app.command("import")
def import_session(
    file: Annotated[str, typer.Argument(help="What `export` wrote; - is the standard input.")],
    session: Annotated[str | None, typer.Option("--session", help="Id of the new session; else one is made.")] = None,
    store: Store = None,
    instance: Instance = None,
    config: Config = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a session of an export, and print its id."""
    document = _read(file)
    shown = _run(_settings(store, instance, config), tenant, lambda sessions: sessions.import_(document, session))
    if as_json:
        _print_json(shown)
    else:
        typer.echo(shown["session"])


@sessions_app.command()
def close(
    sessions: Annotated[list[str], typer.Argument(help="Ids of the sessions.")],
    store: Store = None,
    instance: Instance = None,
    config: Config = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Delete sessions with all that they hold. Status 1 when one of them was not there."""
    closed = _run(_settings(store, instance, config), tenant, lambda opened: opened.close(sessions))
    if as_json:
        _print_json(closed)
    else:
        for session, found in closed.items():
            typer.echo(f"{session}: {'closed' if found else 'there is none'}")
    if not all(closed.values()):
        raise typer.Exit(EXIT_FAILURE)


def _settings(store: str | None, instance: str | None, config: Path | None) -> Settings:
    try:
        return load_settings({"store": store, "instance": instance}, config=config)
    except SettingsError as error:
        _fail(str(error), EXIT_USAGE)


def _run(settings: Settings, tenant: str | None, work: Callable[[StoredSessions], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with open_sessions(settings, tenant) as sessions:
            return await work(sessions)

    try:
        return asyncio.run(run())
    except BridgeError as error:
        _fail(Redactor(secrets_of(settings)).text(error.message), EXIT_FAILURE)


def _read(file: str) -> dict[str, Any]:
    try:
        with sys.stdin.buffer if file == "-" else open(file, "rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            _fail(f"{file} is larger than {_MOST_BYTES} bytes, which no session is", EXIT_USAGE)
        document = wire_json.decode(data)
    except OSError as error:
        _fail(f"{file} cannot be read: {error.strerror}", EXIT_USAGE)
    except BridgeError as error:
        _fail(f"{file} is no export of a session: {error.message}", EXIT_USAGE)
    if type(document) is not dict:
        _fail(f"{file} is no export of a session: it holds no map", EXIT_USAGE)
    return document


def _lines(value: Any) -> Iterable[str]:
    if isinstance(value, datetime):
        return [_moment(value)]
    if isinstance(value, dict):
        return [f"{name}: {_text(item)}" for name, item in value.items()] or ["none"]
    if isinstance(value, list):
        return [_text(item) for item in value] or ["none"]
    return ["none" if value is None else _text(value)]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)  # nothing steers the terminal


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"


def _print_json(value: Any) -> None:
    typer.echo(_json(value))


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    # What is not printable stands in strings alone, but for the ends of lines; JSON escapes only part of it.
    return _STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _fail(message: str, status: int) -> NoReturn:
    fail(f"python-bridge sessions: {message}", status)


__all__ = ["sessions_app"]
