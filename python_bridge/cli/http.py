"""`python-bridge serve`, `token` and `programs`."""

import json
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from python_bridge.cli.ending import fail
from python_bridge.settings import SettingsError, load_settings

Config = Annotated[Path | None, typer.Option(help=r"TOML file with \[lms.NAME] tables (env: DSPEX_CONFIG).")]
Programs = Annotated[Path, typer.Option(help="Folder of program JSON files, <program_id>.json.")]


def serve(
    host: Annotated[str | None, typer.Option(help="Address (env: API_HOST; 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port, 0 for a free one (env: API_PORT; 8000).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes behind the port (env: API_WORKERS; 1).")] = None,
    programs: Annotated[str | None, typer.Option(help="Folder of program JSON files (env: DSPEX_PROGRAMS).")] = None,
    state: Annotated[str | None, typer.Option(help="Folder of history and jobs (env: DSPEX_HTTP_STATE).")] = None,
    lm: Annotated[str | None, typer.Option(help="Model for programs that name none (env: DSPEX_LM).")] = None,
    config: Config = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one execution.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="Executions at a time in one process.")] = None,
    max_body_bytes: Annotated[int | None, typer.Option(help="Largest body.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second for one token; 0 is no limit.")] = None,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Origin that browsers may call from.")] = None,
    durable: Annotated[
        bool | None, typer.Option("--durable/--no-durable", help="Answer when the execution is in the history.")
    ] = None,
    cache: Annotated[bool | None, typer.Option("--cache/--no-cache", help="Keep results and give them again.")] = None,
    mlflow: Annotated[bool | None, typer.Option("--mlflow/--no-mlflow", help="Track executions in MLflow.")] = None,
) -> None:
    """Serve the REST API under /api/v1/dspy, its documentation under /docs, and a console under /.

    Bearer tokens: SECRET_KEY (in clear), or API_TOKEN_HASHES (as `python-bridge token` prints them). Without any,
    the API listens on loopback only. SIGTERM finishes what runs and ends; the exit status is then 0.
    """
    try:
        from python_bridge.transports.http.serve import serve as run
        from python_bridge.transports.http.settings import load_http_settings
    except ModuleNotFoundError as error:
        fail(f"{error.name} is missing; run: pip install 'python-bridge[http]'")
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "workers": workers,
        "programs": programs,
        "state": state,
        "timeout": timeout,
        "max_concurrency": max_concurrency,
        "max_body_bytes": max_body_bytes,
        "rate": rate,
        "cors_origins": tuple(cors_origin) if cors_origin else None,
        "durable": durable,
        "cache": cache,
        "mlflow": mlflow,
    }
    try:
        settings, http = load_settings({"lm": lm} if lm else None, config=config), load_http_settings(given)
        if not Path(http.programs).is_dir():
            typer.echo(f"there is no folder {http.programs!r} (--programs): no program until it is made", err=True)
        raise typer.Exit(run(http, settings))
    except SettingsError as error:
        fail(str(error))


def token(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False) -> None:
    """Make a bearer token; print it and its hash for API_TOKEN_HASHES."""
    from python_bridge.transports.http.settings import hash_token

    made = secrets.token_urlsafe(32)
    shown = {"token": made, "hash": hash_token(made)}
    typer.echo(json.dumps(shown) if as_json else f"token  {made}\nhash   {shown['hash']}")


def list_programs(
    programs: Programs = Path("programs"),
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """List the programs of a folder."""
    from python_bridge.transports.http.catalogue import Catalogue, view

    catalogue = Catalogue(programs)
    names = ("program_id", "kind", "signature", "error")
    views = [view(catalogue, program_id) for program_id in catalogue.ids()]
    shown = [{name: row[name] for name in names if name in row} for row in views]
    if as_json:
        typer.echo(json.dumps(shown))
        return
    table = Table("program", "kind", "signature", box=None)
    for row in shown:
        table.add_row(row["program_id"], row["kind"], escape(row.get("error") or row["signature"]))
    Console().print(table if shown else f"no programs in {programs}")


__all__ = ["list_programs", "serve", "token"]
