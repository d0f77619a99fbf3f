"""The commands, for people: help texts, and messages in words."""

from typing import Annotated

import typer

from python_bridge import __version__

app = typer.Typer(
    name="python-bridge",
    help="Runs DSPy programs for Elixir and other languages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def common() -> None:
    """Runs DSPy programs for Elixir and other languages."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def worker(
    lm: Annotated[str | None, typer.Option(help="Model for calls that name none (env: DSPEX_LM).")] = None,
    lm_api_base: Annotated[
        str | None, typer.Option(help="URL of an OpenAI-compatible server (env: OPENAI_BASE_URL, OPENAI_API_BASE).")
    ] = None,
    default_lm: Annotated[str | None, typer.Option(help="Name of the default among the LMs of the file.")] = None,
    adapter: Annotated[str | None, typer.Option(help="chat, json or xml.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="Requests that run at the same time.")] = None,
    max_queue: Annotated[int | None, typer.Option(help="Requests that wait for a place.")] = None,
    max_frame_bytes: Annotated[int | None, typer.Option(help="Cap of a frame.")] = None,
    max_programs: Annotated[int | None, typer.Option(help="Compiled programs that are kept.")] = None,
    attachment_bytes: Annotated[int | None, typer.Option(help="Byte strings above it travel as attachments.")] = None,
    drain_ms: Annotated[int | None, typer.Option(help="Grace for requests in flight on SIGTERM.")] = None,
    allow_import: Annotated[list[str] | None, typer.Option(help="Module class that programs may name.")] = None,
    listen: Annotated[str | None, typer.Option(help="stdio, unix:/path or tcp:127.0.0.1:port.")] = None,
    engine: Annotated[str | None, typer.Option(help="dspy, or scripted for tests of clients.")] = None,
    store: Annotated[str | None, typer.Option(help="Database of sessions: postgresql://… or sqlite:///path.")] = None,
    instance: Annotated[str | None, typer.Option(help="Names the default store; its workers share sessions.")] = None,
    config: Annotated[str | None, typer.Option(help="TOML file, with [lms.NAME] tables (env: DSPEX_CONFIG).")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks in errors.")] = False,
) -> None:
    """Serve one client on standard input and output (or on a socket) until it ends.

    Every flag can be given as DSPEX_<FLAG> in the environment, or in the TOML file. A worker is started by a pool
    with this very command.
    """
    # `python_bridge.__main__` runs it before typer is imported; this function is its help.
    raise typer.Exit(2)


def run() -> int:
    """Run the command line; return the exit status."""
    result = app(standalone_mode=True)
    return result if isinstance(result, int) else 0


__all__ = ["app", "run"]
