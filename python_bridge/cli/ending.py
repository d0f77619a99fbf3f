"""How commands end that cannot do what was asked: one line on stderr, and with --json an object on stdout."""

import errno
import json
import os
import re
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from python_bridge.errors import BridgeError
from python_bridge.settings import SettingsError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# Control characters but for tabs and ends of lines, the direction of text, and halves of characters.
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class CommandError(Exception):
    """A command cannot go on; the message says why, and what to do."""

    def __init__(self, message: str, status: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.status = status


def fail(message: str, status: int = EXIT_USAGE) -> NoReturn:
    """End the command.

    Raises:
        CommandError: always.
    """
    raise CommandError(message, status)


class Commands(TyperGroup):
    """The commands: whatever ends one of them early is told in words, never by a traceback."""

    def main(self, *given: Any, **named: Any) -> Any:
        """Run one command; see `TyperGroup.main`."""
        arguments = named.get("args") or (given[0] if given else None) or sys.argv[1:]
        as_json = "--json" in _before_dashes(list(arguments))
        try:
            if as_json:
                named["standalone_mode"] = False
                sys.exit(super().main(*given, **named) or 0)
            return super().main(*given, **named)
        except CommandError as error:
            _end(str(error), error.status, as_json)
        except BridgeError as error:
            _end(error.message, EXIT_FAILED, as_json)
        except SettingsError as error:
            _end(str(error), EXIT_USAGE, as_json)
        except (BrokenPipeError, KeyboardInterrupt, typer.Abort) as error:
            _end_quietly(error)
        except OSError as error:
            if error.errno == errno.EPIPE:
                _end_quietly(error)
            _end(f"{error.filename or 'the system'}: {error.strerror or error}", EXIT_FAILED, as_json)
        except Exception as error:
            if not hasattr(error, "format_message"):  # what typer finds wrong in the arguments
                raise
            _end(error.format_message(), getattr(error, "exit_code", EXIT_USAGE), as_json)  # pyright: ignore[reportAttributeAccessIssue]


def _before_dashes(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _end(message: str, status: int, as_json: bool) -> NoReturn:
    typer.echo(printable(message), err=True)
    if as_json:
        typer.echo(json.dumps({"success": False, "error": message, "status": status}))
    sys.exit(status)


def _end_quietly(error: BaseException) -> NoReturn:
    if isinstance(error, OSError):  # nobody reads; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    sys.exit(EXIT_INTERRUPTED)


def printable(text: str) -> str:
    """Return text that can be written anywhere and steers no terminal: what would is shown as escapes."""
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "CommandError",
    "Commands",
    "fail",
    "printable",
]
