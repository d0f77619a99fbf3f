"""Entry of `python-bridge` and of `python -m python_bridge`."""

import sys

EXIT_USAGE = 2
_HELP = {"--help", "-h"}


def main() -> int:
    """Run the command line; return the exit status.

    `worker` and `fork-server` take a short way that imports neither typer nor rich.
    """
    arguments = sys.argv[1:]
    if arguments[:1] in (["worker"], ["fork-server"]) and not _HELP.intersection(arguments):
        return _run_process(arguments[0], arguments[1:])
    from python_bridge.cli.app import run

    return run()


def _run_process(name: str, arguments: list[str]) -> int:
    from python_bridge.cli.worker_flags import settings_from
    from python_bridge.settings import SettingsError

    try:
        settings = settings_from(arguments)
        if name == "fork-server":
            from python_bridge.worker.fork_server import run_fork_server

            return run_fork_server(settings)
        from python_bridge.worker.main import run_worker

        return run_worker(settings)
    except SettingsError as error:
        print(f"python-bridge {name}: {error}", file=sys.stderr)  # noqa: T201 - the message is for people
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
