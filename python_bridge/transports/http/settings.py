"""Settings of `python-bridge serve`: what is given, over the environment, over defaults."""

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from python_bridge.settings import SettingsError, is_unicode

_VARIABLES = {
    "host": "API_HOST",
    "port": "API_PORT",
    "workers": "API_WORKERS",
    "programs": "DSPEX_PROGRAMS",
    "state": "DSPEX_HTTP_STATE",
    "token_hashes": "API_TOKEN_HASHES",
}

_LONGEST_S = 86_400


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """How the REST API is served.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        workers: processes behind the port.
        token_hashes: sha256 of each accepted bearer token, hexadecimal. `SECRET_KEY` of the environment is one more
            token, in clear. Without any the API answers on loopback only, and to everybody.
        programs: folder of program JSON files, ``<program_id>.json``.
        state: folder of the history of executions and of jobs.
        history: executions that are kept.
        durable: whether an answer waits until its execution is in the history: a server that is killed otherwise loses
            those of its last 50 ms.
        max_body_bytes: larger bodies are refused.
        body_timeout: seconds in which a body must have come.
        max_concurrency: executions at a time in one process; further ones are `overloaded`.
        rate: requests a second for one token; 0 is no limit.
        burst: requests that may come at once within the rate.
        timeout: seconds for one execution, and the most that a request may ask for.
        max_batch: items of one batch.
        cors_origins: origins that browsers may call from; none by default.
        cache: whether results are kept and given again.
        mlflow: whether executions are tracked.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token_hashes: tuple[str, ...] = ()
    programs: str = "programs"
    state: str = ""
    history: int = 10_000
    durable: bool = False
    max_body_bytes: int = 8 * 1024 * 1024
    body_timeout: float = 30.0
    max_concurrency: int = 256
    rate: float = 0.0
    burst: int = 100
    timeout: float = 300.0
    max_batch: int = 10_000
    cors_origins: tuple[str, ...] = ()
    cache: bool = True
    mlflow: bool = False


def hash_token(token: str) -> str:
    """Return how a token stands in the settings."""
    return hashlib.sha256(token.encode()).hexdigest()


def load_http_settings(
    given: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> HttpSettings:
    """Return the settings; what is ``None`` in `given` was not given.

    Raises:
        SettingsError: a value cannot be used, or nobody but loopback could be kept out.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name, variable in _VARIABLES.items():
        if environ.get(variable):
            values[name] = _read(name, environ[variable], variable)
    values.update({name: value for name, value in (given or {}).items() if value is not None})
    settings = replace(HttpSettings(), **values)
    if secret := environ.get("SECRET_KEY"):
        settings = replace(settings, token_hashes=(*settings.token_hashes, hash_token(_secret(secret))))
    if not settings.state:
        base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        settings = replace(settings, state=str(Path(base) / "dspex" / "http"))
    _check(settings)
    return settings


def _read(name: str, text: str, variable: str) -> Any:
    if name in ("port", "workers"):
        try:
            return int(text)
        except ValueError:
            raise SettingsError(f"{variable} is {text!r}; it must be a whole number") from None
    if name != "token_hashes":
        return text
    hashes = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    if not hashes:  # nobody who set it wants an API that is open to all
        raise SettingsError(f"{variable} holds no hash; `python-bridge token` makes a token and its hash")
    return hashes


def _secret(text: str) -> str:
    """Return the token without white space around it, which no header carries."""
    if not is_unicode(text):
        raise SettingsError("SECRET_KEY must be UTF-8 text; make another one")
    if not (token := text.strip()):
        raise SettingsError("SECRET_KEY is nothing but white space; set a token, or nothing")
    return token


def _check(settings: HttpSettings) -> None:
    if not 0 <= settings.port <= 65_535:
        raise SettingsError(f"the port is {settings.port}; it must be from 0 to 65535")
    for name in ("workers", "history", "max_body_bytes", "max_concurrency", "burst", "max_batch"):
        if getattr(settings, name) < 1:
            raise SettingsError(f"{name} is {getattr(settings, name)}; it must be at least 1")
    if not 0 < settings.timeout <= _LONGEST_S:
        raise SettingsError(f"timeout is {settings.timeout}; it must be above 0 and at most {_LONGEST_S} seconds")
    if not 0 <= settings.rate < math.inf:
        raise SettingsError(f"rate is {settings.rate}; it must be a number of requests a second, 0 for no limit")
    for value in settings.token_hashes:
        if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise SettingsError(
                "a token hash is 64 hexadecimal digits; `python-bridge token` makes a token and its hash"
            )
    if not settings.token_hashes and settings.host not in ("127.0.0.1", "::1", "localhost"):
        raise SettingsError(
            f"without a token the API listens on loopback only, not on {settings.host}; set SECRET_KEY or "
            "API_TOKEN_HASHES"
        )


FIELDS = tuple(field.name for field in fields(HttpSettings))

__all__ = ["FIELDS", "HttpSettings", "hash_token", "load_http_settings"]
