"""`python-bridge run`: a program from the command line."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from python_bridge.cli.ending import EXIT_FAILED, EXIT_INTERRUPTED, fail, printable
from python_bridge.cli.items import json_or_text
from python_bridge.errors import BridgeError
from python_bridge.settings import SettingsError, load_settings

Program = Annotated[str, typer.Argument(help="A program JSON file, an id in --programs, or a signature.")]
Lm = Annotated[
    str | None, typer.Option(help="LM of the settings, or model, for programs that name none (env: DSPEX_LM).")
]
Config = Annotated[Path | None, typer.Option(help=r"TOML file with \[lms.NAME] tables (env: DSPEX_CONFIG).")]
Programs = Annotated[Path, typer.Option(help="Folder of program JSON files, <program_id>.json.")]
Timeout = Annotated[float, typer.Option(min=0.001, max=1e9, help="Seconds for one execution.")]
AsJson = Annotated[bool, typer.Option("--json", help="The whole result as JSON.")]


def run(
    program: Program,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            help="Inputs as key=value, JSON for what is no text; key=@FILE reads a file, key=@- the standard input, "
            "key=@@text is the text @text."
        ),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print every step: prompts, completions, times.")] = False,
    as_json: AsJson = False,
    timeout: Timeout = 300.0,
    lm: Lm = None,
    config: Config = None,
    programs: Programs = Path("programs"),
) -> None:
    """Run a program once and print its outputs.

    python-bridge run "question -> answer" question="Why is the sky blue?" --lm openai/gpt-4o-mini

    Exit status: 0, 1 when the program failed, 2 for wrong arguments, 130 when it was interrupted.
    """
    inputs = read_values(values or [])
    document = program_of(program, programs)
    with executor_of(lm, config, programs, timeout) as executor:
        options: dict[str, Any] = {"mode": "debug" if debug else "normal"}
        if stream and not as_json:
            options.update(emit=_print_token, use_cache=False)
        try:
            result = executor.execute(document, inputs=typed(executor, document, inputs), **options)
        except KeyboardInterrupt:
            fail("interrupted", EXIT_INTERRUPTED)
    if as_json:
        typer.echo(result.to_json())
    elif stream and result.success:
        typer.echo()
    elif result.success:
        _print_outputs(result.outputs)
    if debug and not as_json:
        from python_bridge.services.executor.debug import render

        _print(render(result.metadata.get("debug_trace") or []))
    if not result.success:
        if not as_json:
            typer.echo(printable(f"failed: {result.error}"), err=True)
        raise typer.Exit(EXIT_FAILED)


def read_values(values: list[str]) -> dict[str, Any]:
    """Read `key=value` arguments as texts; ``@file`` is the text of a file, ``@-`` the standard input.

    Raises:
        CommandError: an argument is none of these, or a file cannot be read.
    """
    read: dict[str, Any] = {}
    for item in values:
        name, sign, text = item.partition("=")
        if not sign or not name.isidentifier():
            fail(f"{item!r} is no input; write key=value")
        if text.startswith("@@"):
            text = text[1:]
        elif text.startswith("@"):
            try:
                text = _text_of(text[1:])
            except (OSError, UnicodeDecodeError) as error:
                fail(f"{name}: {text[1:]} cannot be read: {error}; write {name}=@@… for a text that begins with @")
        read[name] = text
    return read


def _text_of(name: str) -> str:
    return (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).decode("utf-8-sig")


def program_of(name: str, folder: Path) -> Any:
    """Return program JSON: of a file, of an id, or of a signature.

    Raises:
        CommandError: there is none, or the file cannot be read.
    """
    path = next((path for path in (Path(name), folder / f"{name}.json") if _is_there(path)), None)
    if path is None and "->" not in name:
        fail(f"{name!r} is no program file, no id in {folder}, and no signature (inputs -> outputs)")
    if path is None:
        return {"format": 1, "kind": "predict", "signature": name}
    try:
        program = json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        fail(f"{path}:{error.lineno}: no JSON: {error.msg} (column {error.colno})")
    except (OSError, ValueError, RecursionError) as error:
        fail(f"{path} cannot be read: {error}")
    if not isinstance(program, dict):
        fail(f"{path}: a program is a JSON object, this is {type(program).__name__}")
    return program


def _is_there(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # a signature is longer than names of files are
        return False


def executor_of(lm: str | None, config: Path | None, programs: Path, timeout: float) -> Any:
    """Return an executor with the LMs of the settings.

    Raises:
        CommandError: the settings are wrong, or something is not installed.
    """
    from python_bridge.services.executor.executor import DSPyPipelineExecutor

    if not os.environ.get("PIPELINE_LOG_LEVEL"):  # the commands tell of failures themselves
        logging.getLogger("python_bridge.executor").addHandler(logging.NullHandler())
    try:
        settings = load_settings(config=config)
        if lm:
            settings = load_settings({"default_lm" if lm in settings.lms else "lm": lm}, config=config)
        return DSPyPipelineExecutor(mlflow_tracking=False, timeout=timeout, settings=settings)
    except (SettingsError, BridgeError) as error:
        fail(str(error))


def typed(executor: Any, program: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return inputs whose texts are read as JSON where the program wants something else than text."""
    texts = {name: value for name, value in inputs.items() if isinstance(value, str)}
    if not texts:
        return inputs
    try:
        executor.check(program, inputs=inputs)
    except BridgeError as error:
        problems = error.details.get("problems") or []
        wrong = {str(problem["path"]).partition(".")[0] for problem in problems}
        return {name: json_or_text(value) if name in wrong else value for name, value in inputs.items()}
    return inputs


async def _print_token(event: dict[str, Any]) -> None:
    if event.get("type") == "token":
        _print(event["text"], nl=bool(event.get("last")))


def _print_outputs(outputs: dict[str, Any]) -> None:
    for name, value in outputs.items():
        _print(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}")


def _print(text: str, nl: bool = True) -> None:
    """Print what an LM wrote: as it is into files and pipes, without what steers a terminal into one."""
    typer.echo(printable(text) if sys.stdout.isatty() else text.encode("utf-8", "backslashreplace"), nl=nl)


__all__ = ["executor_of", "program_of", "read_values", "run", "typed"]
