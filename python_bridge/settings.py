"""Settings of a worker: flags over environment over TOML file over defaults, checked once, here."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

_PREFIX = "DSPEX_"
_BASE_URL_VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
ADAPTERS = ("chat", "json", "xml")
ENGINES = ("dspy", "scripted")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("json", "console")


class SettingsError(ValueError):
    """A setting that cannot be used; the message names where it stands and what is allowed there."""


@dataclass(frozen=True, slots=True)
class LmSettings:
    """One `[lms.NAME]` table.

    Attributes:
        model: as `dspy.LM` takes it (``"openai/gpt-4o-mini"``), or ``"offline/extractive"``.
        api_key_env: name of the environment variable that holds the key; the key itself is never stored.
        api_base: base URL of an OpenAI-compatible server.
        timeout: seconds for one LM request.
        retries: how often a retryable LM error is tried again.
        cache: whether answers may come from the worker's own cache.
    """

    model: str
    api_key_env: str | None = None
    api_base: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    retries: int = 2
    cache: bool = False


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """One `[embedders.NAME]` table.

    Attributes:
        model: ``"openai/text-embedding-3-small"``, or ``"offline/hashed"``, which needs no table either.
        api_key_env: name of the environment variable that holds the key; the key itself is never stored.
        api_base: base URL of an OpenAI-compatible server.
        timeout: seconds for one request; 60 when not given.
        retries: how often a retryable error is tried again.
        batch_size: texts of one request.
        dimensions: asked of models that can shorten their vectors; 512 for ``"offline/hashed"``.
    """

    model: str
    api_key_env: str | None = None
    api_base: str | None = None
    timeout: float | None = None
    retries: int = 2
    batch_size: int = 256
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a worker; every field has a working default.

    Attributes:
        lms: LMs by the name that calls use.
        embedders: embedders by the name that programs use.
        default_lm: name of the LM for calls that name none.
        adapter: ``"chat"``, ``"json"`` or ``"xml"``, for programs and calls that name none.
        allowed_imports: modules (``"package.module:Class"``) that programs may name.
        debug: tracebacks in errors.
        max_in_flight: requests that run at the same time.
        max_queue: requests that wait for a place; further ones are `overloaded`.
        max_frame_bytes: cap of a frame in both directions.
        max_depth: levels of nesting of a value.
        max_items: items of one collection.
        max_table_bytes: what the compressed parts of an Arrow table may become when it is opened.
        attachment_bytes: byte strings, tensors and tables above this size travel as attachments, unless the client
            says another one; 1,024 in JSON and 65,536 in MessagePack when not given.
        max_connections: clients of one socket at the same time.
        max_handshakes: of these, clients that have not sent `initialize` yet.
        handshake_ms: time from connecting to `initialize`, on sockets.
        max_programs: compiled programs that are kept.
        drain_ms: grace for requests in flight when the worker is told to end.
        listen: ``"stdio"``, ``"unix:/path"``, ``"tcp:127.0.0.1:port"`` (port 0: any), or gRPC at
            ``"grpc:127.0.0.1:port"`` or ``"grpc:unix:/path"``.
        engine: ``"dspy"``, or ``"scripted"`` (`python_bridge.testing.engine`: for tests of clients, without dspy).
        store: database of the sessions: ``"postgresql://…"`` or ``"sqlite:///path"``; by default the file
            ``$XDG_STATE_HOME/dspex/<instance>.db``.
        instance: name of that file; workers of one instance share their sessions.
        store_power_safe: whether a commit to SQLite reaches the disk before it is acknowledged.
        store_lock_ms: time to wait for another process that holds the store's lock; then the call is `unavailable`.
        session_ttl_ms: longest life of a session.
        session_idle_ms: longest time between two uses of a session.
        session_max_bytes: most that one session holds.
        max_sessions: sessions of one tenant.
        worker_id: name of the worker in logs and answers; made up when not given.
        token: what clients must send in `initialize`, and in the metadata of gRPC; TCP cannot do without.
        grpc_tls_cert: file with the certificates of the gRPC server, PEM; without it there is no TLS.
        grpc_tls_key: file with their key, PEM.
        grpc_tls_client_ca: file with the certificates that clients' certificates must be signed by, PEM.
        grpc_reflection: whether gRPC clients may ask which services there are.
        grpc_keepalive_ms: time without traffic after which a gRPC client is asked whether it is there.
        log_level: ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
        log_format: ``"json"``, or ``"console"`` for people.
        tracing: whether spans are made where OpenTelemetry is configured.
        memory_soft_bytes: resident memory from which on the worker refuses work, finishes and ends with status 75;
            0 is none.
        memory_hard_bytes: resident memory from which on the worker is killed, whatever it does: by the fork server that
            made it, else by its own look at itself; 0 is none.
        recycle_calls: requests after which it is replaced in the same way as at `memory_soft_bytes`; 0 is none.
        recycle_age_ms: age at which it does the same, give or take a tenth; 0 is none.
        recycle_grace_ms: grace for requests in flight then.
        max_abandoned: abandoned threads and tasks from which on it does the same.
        monitor_ms: time between two looks at memory and the event loop.
        nice: niceness, -20 to 19; 0 leaves it as it is.
        cpus: processors that the worker may use: ``"0-3,6"``; all when not given.
        gpu: devices that the worker may see: ``"0"``, ``"0,1"`` or ``"none"``; told as features ``gpu``, ``gpu:0``.
        result_cache_bytes: memory for results, given again to equal calls of the same tenant; 0 is none.
        result_cache_ttl_ms: how long they are given.
        lm_breaker_failures: failures in a row after which nothing is sent to an LM for a while; 0 is never.
        lm_breaker_ms: how long.
        tracking: whether calls are tracked in MLflow (``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``).
        extras: optional parts that this Python must have (``arrow``, ``grpc``, ``http``, ``mlflow``); a worker that
            lacks one says so and ends.
        capabilities: words of your own that `initialize` tells among the features, as ``capability:<word>``.
    """

    lms: dict[str, LmSettings] = field(default_factory=dict[str, LmSettings])
    embedders: dict[str, EmbedderSettings] = field(default_factory=dict[str, EmbedderSettings])
    default_lm: str = "default"
    adapter: str = "chat"
    allowed_imports: tuple[str, ...] = ()
    debug: bool = False
    max_in_flight: int = 256
    max_queue: int = 1024
    max_frame_bytes: int = 64 * 1024 * 1024
    max_depth: int = 64
    max_items: int = 1_000_000
    max_table_bytes: int = 1024 * 1024 * 1024
    attachment_bytes: int | None = None
    max_connections: int = 64
    max_handshakes: int = 32
    handshake_ms: int = 10_000
    max_programs: int = 256
    drain_ms: int = 5000
    listen: str = "stdio"
    engine: str = "dspy"
    worker_id: str | None = None
    store: str | None = field(default=None, repr=False)
    instance: str = "default"
    store_power_safe: bool = False
    store_lock_ms: int = 5000
    session_ttl_ms: int = 30 * 24 * 60 * 60 * 1000
    session_idle_ms: int = 24 * 60 * 60 * 1000
    session_max_bytes: int = 16 * 1024 * 1024
    max_sessions: int = 100_000
    token: str | None = field(default=None, repr=False)
    grpc_tls_cert: str | None = None
    grpc_tls_key: str | None = None
    grpc_tls_client_ca: str | None = None
    grpc_reflection: bool = False
    grpc_keepalive_ms: int = 30_000
    log_level: str = "info"
    log_format: str = "json"
    tracing: bool = True
    memory_soft_bytes: int = 0
    memory_hard_bytes: int = 0
    recycle_calls: int = 0
    recycle_age_ms: int = 0
    recycle_grace_ms: int = 30_000
    max_abandoned: int = 32
    monitor_ms: int = 500
    nice: int = 0
    cpus: str | None = None
    gpu: str | None = None
    result_cache_bytes: int = 0
    result_cache_ttl_ms: int = 3_600_000
    lm_breaker_failures: int = 0
    lm_breaker_ms: int = 30_000
    tracking: bool = False
    extras: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()


_LISTS = ("allowed_imports", "extras", "capabilities")
_TABLES = ("lms", "embedders")
_SCALARS = {f.name: f.type for f in fields(Settings) if f.name not in (*_TABLES, *_LISTS)}
_LM_FIELDS = {f.name: f.type for f in fields(LmSettings)}
_EMBEDDER_FIELDS = {f.name: f.type for f in fields(EmbedderSettings)}
_AT_LEAST = {
    **dict.fromkeys(("max_queue", "drain_ms", "attachment_bytes", "memory_soft_bytes", "memory_hard_bytes"), 0),
    **dict.fromkeys(("recycle_calls", "recycle_age_ms", "recycle_grace_ms"), 0),
    **dict.fromkeys(("result_cache_bytes", "lm_breaker_failures"), 0),
    "max_depth": 4,
    "nice": -20,
}


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    """Return the settings of a process.

    Args:
        flags: fields of `Settings`, and `lm`, `lm_api_base`, from the command line; ``None`` values are not set.
        environ: ``DSPEX_<FIELD>``, ``DSPEX_LM``, ``DSPEX_CONFIG``, ``OPENAI_BASE_URL``; `os.environ` by default.
        config: TOML file: fields of `Settings` at its top, and ``[lms.NAME]``, ``[embedders.NAME]`` tables.

    Raises:
        SettingsError: a setting is unknown or has a wrong value.
    """
    return explain_settings(flags, environ, config)[0]


def explain_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Return what `load_settings` does, and where each setting comes from: ``"default"``, the file, ``"environment"``
    or ``"command line"``; LMs under ``lms.NAME``, embedders under ``embedders.NAME``.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    path = config or (Path(environ[_PREFIX + "CONFIG"]) if environ.get(_PREFIX + "CONFIG") else None)
    layers = [(str(path), _read_toml(path))] if path else []
    from_environ = _from_environment(environ)
    if given.get("lm") and (base := from_environ.get("lm_api_base")) and _is_openai(given["lm"]):
        # The server that stands in OpenAI's place does so for whichever model is named.
        given.setdefault("lm_api_base", base)
    layers += [("environment", from_environ), ("command line", given)]
    settings = Settings()
    sources = {f.name: "default" for f in fields(Settings) if f.name not in _TABLES}
    for source, values in layers:
        before, settings = settings, apply_settings(settings, values, source)
        sources.update({name: source for name in values if name in sources})
        for table in _TABLES:
            known = getattr(before, table)
            sources.update({f"{table}.{n}": source for n, v in getattr(settings, table).items() if known.get(n) != v})
    return settings, sources


def is_unicode(text: str) -> bool:
    """Return whether `text` can be sent: variables of the environment may hold bytes that are no UTF-8."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def apply_settings(settings: Settings, values: Mapping[str, Any], source: str) -> Settings:
    """Return `settings` with `values` over them; numbers and booleans may be text.

    Args:
        source: where the values come from, for messages.

    Raises:
        SettingsError: a setting is unknown or has a wrong value.
    """
    changes: dict[str, Any] = {}
    lms, embedders = dict(settings.lms), dict(settings.embedders)
    for name, value in values.items():
        if name == "lms":
            lms.update(_read_tables(value, name, source, LmSettings, _LM_FIELDS))
        elif name == "embedders":
            embedders.update(_read_tables(value, name, source, EmbedderSettings, _EMBEDDER_FIELDS))
        elif name in _LISTS:
            changes[name] = _read_names(value, f"{name} ({source})")
        elif name in _SCALARS:
            changes[name] = _convert(value, _SCALARS[name], f"{name} ({source})")
        elif name not in ("lm", "lm_api_base"):
            known = ", ".join(sorted([*_SCALARS, *_LISTS, *_TABLES, "lm", "lm_api_base"]))
            raise SettingsError(f"{name} ({source}) is no setting; known are {known}")
    name = changes.get("default_lm", settings.default_lm)
    _name_one_lm(lms, name, values, source)
    result = replace(settings, lms=lms, embedders=embedders, **changes)
    _check(result, source)
    return result


def _name_one_lm(lms: dict[str, LmSettings], name: str, values: Mapping[str, Any], source: str) -> None:
    """Put the LM that is given by model alone (`lm`, `lm_api_base`) under the default name.

    The URL of the environment is OpenAI's own variable, so it concerns OpenAI's models alone.
    """
    base = values.get("lm_api_base")
    chosen = str(values.get("lm") or (lms[name].model if name in lms else ""))
    if source == "environment" and not _is_openai(chosen):
        base = None
    if values.get("lm"):
        lms[name] = LmSettings(model=chosen, api_base=base)
    elif base and name in lms and lms[name].api_base is None:
        lms[name] = replace(lms[name], api_base=str(base))


def _is_openai(model: Any) -> bool:
    return str(model).startswith("openai/")


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = [*_SCALARS, "lm", *_LISTS]
    values: dict[str, Any] = {
        name: environ[_PREFIX + name.upper()] for name in names if environ.get(_PREFIX + name.upper())
    }
    base = next((environ[name] for name in _BASE_URL_VARIABLES if environ.get(name)), None)
    return {**values, "lm_api_base": base} if base else values


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is no TOML: {error}") from None


def _read_tables(value: Any, kind: str, source: str, make: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{kind} ({source}) must be tables, as [{kind}.NAME]")
    return {str(name): _read_table(table, f"{kind}.{name}", source, make, known) for name, table in value.items()}


def _read_table(table: Any, path: str, source: str, make: Any, known: Mapping[str, Any]) -> Any:
    if not isinstance(table, Mapping) or "model" not in table:
        raise SettingsError(f'{path} ({source}) needs a model, as model = "{_EXAMPLES[make]}"')
    for name, value in table.items():
        if name not in known:
            if "key" in str(name).lower() or "token" in str(name).lower().split("_"):
                text = 'keys are read from the environment; name the variable, as api_key_env = "OPENAI_API_KEY"'
                raise SettingsError(f"{path}.{name} ({source}) is no setting: {text}")
            what = "an LM" if make is LmSettings else "an embedder"
            raise SettingsError(f"{path}.{name} ({source}) is no setting of {what}; known are {', '.join(known)}")
        if name in ("batch_size", "dimensions") and not (type(value) is int and value > 0):
            raise SettingsError(f"{path}.{name} ({source}) must be a whole number from 1, it is {value!r}")
    variable = table.get("api_key_env")
    if isinstance(variable, str) and not _VARIABLE.fullmatch(variable):  # the key itself, likely: it is not repeated
        text = 'must be the name of an environment variable, as api_key_env = "OPENAI_API_KEY"; the key stands there'
        raise SettingsError(f"{path}.api_key_env ({source}) {text}")
    return make(
        **{str(name): _convert(value, known[name], f"{path}.{name} ({source})") for name, value in table.items()}
    )


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXAMPLES: dict[Any, str] = {
    LmSettings: "openai/gpt-4o-mini",
    EmbedderSettings: "openai/text-embedding-3-small",
}


def _read_names(value: Any, where: str) -> tuple[str, ...]:
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise SettingsError(f"{where} must be a list of names")
    return tuple(item for item in items if item)


def _convert(value: Any, annotation: Any, where: str) -> Any:
    """Return `value` as the type of a field: ``str``, ``int``, ``float``, ``bool``, or one of these or ``None``."""
    wanted = next((kind for kind in get_args(annotation) if kind is not type(None)), annotation)
    if value is None and wanted is not annotation:
        return None
    if wanted is bool and isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if wanted in (int, float) and isinstance(value, str):
        try:
            return wanted(value)
        except ValueError:
            pass
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise SettingsError(f"{where} must be {_NAMES[wanted]}, it is {value!r}")
    return value


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_MAX_NICE = 19
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _check(settings: Settings, source: str) -> None:
    for name, annotation in _SCALARS.items():
        value = getattr(settings, name)
        if annotation in (int, int | None) and value is not None and value < (least := _AT_LEAST.get(name, 1)):
            raise SettingsError(f"{name} ({source}) must be at least {least}, it is {value}")
    if settings.token is not None and not is_unicode(settings.token):
        raise SettingsError(f"token ({source}) must be UTF-8 text, as clients send it in JSON; make another one")
    if settings.adapter not in ADAPTERS:
        raise SettingsError(f"adapter ({source}) must be one of {', '.join(ADAPTERS)}, it is {settings.adapter!r}")
    if settings.engine not in ENGINES:
        raise SettingsError(f"engine ({source}) must be one of {', '.join(ENGINES)}, it is {settings.engine!r}")
    for name, allowed in (("log_level", LOG_LEVELS), ("log_format", LOG_FORMATS)):
        if getattr(settings, name) not in allowed:
            text = f"must be one of {', '.join(allowed)}, it is {getattr(settings, name)!r}"
            raise SettingsError(f"{name} ({source}) {text}")
    if settings.nice > _MAX_NICE:
        raise SettingsError(f"nice ({source}) must be at most {_MAX_NICE}, it is {settings.nice}")
    if 0 < settings.memory_hard_bytes <= settings.memory_soft_bytes:
        soft, hard = settings.memory_soft_bytes, settings.memory_hard_bytes
        raise SettingsError(f"memory_hard_bytes ({source}) must be above memory_soft_bytes, {soft}; it is {hard}")
    if settings.max_frame_bytes >= 1 << 29:
        raise SettingsError(f"max_frame_bytes ({source}) must be below {1 << 29}")
    if settings.listen != "stdio" and not settings.listen.startswith(("unix:/", "tcp:", "grpc:")):
        text = "must be stdio, unix:/path, tcp:127.0.0.1:port, grpc:127.0.0.1:port or grpc:unix:/path"
        raise SettingsError(f"listen ({source}) {text}, it is {settings.listen!r}")


__all__ = [
    "ADAPTERS",
    "ENGINES",
    "LOG_FORMATS",
    "LOG_LEVELS",
    "LmSettings",
    "Settings",
    "SettingsError",
    "apply_settings",
    "explain_settings",
    "is_unicode",
    "load_settings",
]
