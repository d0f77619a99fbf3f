"""Entry of `python-bridge` and of `python -m python_bridge`."""

import os
import sys
from pathlib import Path

EXIT_USAGE = 2
_HELP = {"--help", "-h"}


def main() -> int:
    """Run the command line; return the exit status.

    `worker`, `fork-server` and `snakepit-worker` take a short way that imports neither typer nor rich.
    """
    arguments = sys.argv[1:]
    if arguments[:1] in (["worker"], ["fork-server"], ["snakepit-worker"]) and not _HELP.intersection(arguments):
        return _run_process(arguments[0], arguments[1:])
    from python_bridge.cli.app import run

    return run()


def _run_process(name: str, arguments: list[str]) -> int:
    from python_bridge.cli.worker_flags import settings_from
    from python_bridge.settings import SettingsError

    try:
        if name == "snakepit-worker":
            return _run_snakepit_worker(arguments)
        settings = settings_from(arguments)
        if name == "fork-server":
            from python_bridge.worker.fork_server import run_fork_server

            return run_fork_server(settings)
        from python_bridge.worker.main import run_worker

        return run_worker(settings)
    except SettingsError as error:
        print(f"python-bridge {name}: {error}", file=sys.stderr)  # noqa: T201 - the message is for people
        return EXIT_USAGE


def _run_snakepit_worker(arguments: list[str]) -> int:
    from python_bridge.cli.worker_flags import settings_from, split_known
    from python_bridge.transports.grpc import SNAKEPIT_SCRIPT, require_grpc

    require_grpc()
    if not any(Path(argument).name == SNAKEPIT_SCRIPT.name for argument in sys.orig_argv):
        # Snakepit's cleanup of orphans looks for the script's name in the command line.
        os.execv(sys.executable, [sys.executable, str(SNAKEPIT_SCRIPT), *arguments])  # noqa: S606 - no shell is wanted
    from python_bridge.worker.snakepit import read_options, run_snakepit_worker

    known, others = split_known(arguments)
    return run_snakepit_worker(settings_from(known), read_options(others), known)


if __name__ == "__main__":
    sys.exit(main())
