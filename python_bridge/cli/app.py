"""The commands, for people: help texts, and messages in words."""

import json
from typing import Annotated, Any

import typer

from python_bridge import __version__
from python_bridge.cli.ask import lm_app, stats
from python_bridge.cli.batch import batch
from python_bridge.cli.diagnosis import config_app, doctor, takes_settings
from python_bridge.cli.ending import Commands
from python_bridge.cli.execute import run as run_program
from python_bridge.cli.http import list_programs, serve, token
from python_bridge.cli.sessions import sessions_app

app = typer.Typer(
    cls=Commands,
    name="python-bridge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Runs DSPy programs for Elixir and other languages.

    To begin: `python-bridge doctor`, then `python-bridge run "question -> answer" question="Why is the sky blue?"`.
    Where `--json` is taken, everything on stdout is JSON, what went wrong too.

    Exit status: 0; 1 when what was asked failed; 2 for wrong arguments or settings; 130 when it was interrupted.
    """


@app.command()
def version(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False) -> None:
    """Print the version."""
    typer.echo(json.dumps({"version": __version__}) if as_json else __version__)


@app.command()
@takes_settings
def worker(**flags: Any) -> None:
    """Serve one client on standard input and output (or on a socket) until it ends.

    Every flag can be given as DSPEX_<FLAG> in the environment, or in the TOML file. A worker is started by a pool
    with this very command.
    """
    # `python_bridge.__main__` runs it before typer is imported; this function is its help.
    raise typer.Exit(2)


app.command(
    "snakepit-worker",
    help="Be a worker of a Snakepit pool: flags of a worker, --programs-folder, and those that Snakepit gives.",
)(worker)
app.command("fork-server", help="Import dspy once, and fork workers that have it, on standard input and output.")(
    worker
)


app.add_typer(config_app)
app.add_typer(sessions_app)
app.command()(doctor)
app.command("run")(run_program)
app.command()(batch)
app.command()(serve)
app.command()(token)
app.command()(stats)
app.add_typer(lm_app)
app.command("programs")(list_programs)


def run() -> int:
    """Run the command line; return the exit status."""
    result = app(standalone_mode=True)
    return result if isinstance(result, int) else 0


__all__ = ["app", "run"]
