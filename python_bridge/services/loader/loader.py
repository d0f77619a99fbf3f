"""`DSPyModelLoader`: programs by name, from files, classes and registries; loaded when asked for, and kept."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from cachetools import LRUCache

from python_bridge.engine.programs import check_shape
from python_bridge.errors import BridgeError
from python_bridge.services.loader.config import ModelConfig, read_config
from python_bridge.wire import json as wire_json

_MAX_KEPT = 256
_MAX_NAME = 200
_SUFFIXES = (".yaml", ".yml", ".json")
_Mark = tuple[int, int, int]
T = TypeVar("T")

logger = logging.getLogger("python_bridge.loader")

Registry = Callable[[str], Mapping[str, Any] | None]
"""Gives the program JSON of an id, ``None`` for an unknown one."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A program, ready for an executor.

    Attributes:
        program: program JSON.
        source: ``"local"``, ``"class"``, ``"json"``, ``"registry"`` or ``"mlflow"``.
        dependencies: package → installed version, of those that the configuration names.
    """

    name: str
    version: str
    source: str
    program: Mapping[str, Any]
    dependencies: dict[str, str] = field(default_factory=dict[str, str])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


class DSPyModelLoader:
    """Loads programs. Give it to an executor as `models`: model ids are then names, files' names and MLflow URIs.

    Every execution sees a file as it is then. What MLflow gave is asked for anew in the background when it is `refresh`
    seconds old, as an alias may have moved; until MLflow answers, the old one serves.

    Args:
        folder: of configuration files (``*.yaml``, ``*.yml``) and program files (``*.json``), by name.
        registry: our program registry.
        mlflow: MLflow's registry (`python_bridge.tracking.mlflow_exporter.MlflowOptions`).
        clock: gives seconds.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        registry: Registry | None = None,
        mlflow: Any = None,
        refresh: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._registry = registry
        self._mlflow = mlflow
        self._refresh, self._clock = refresh, clock
        self._lock = threading.Lock()
        self._files: LRUCache[Path, tuple[_Mark, Any]] = LRUCache(_MAX_KEPT)
        self._remote: LRUCache[str, tuple[float, Mapping[str, Any]]] = LRUCache(_MAX_KEPT)

    def __call__(self, model_id: str) -> Mapping[str, Any] | None:
        """See `get`."""
        return self.get(model_id)

    def get(self, model_id: str, /) -> Mapping[str, Any] | None:
        """Return the program of a model id, ``None`` when there is none.

        Raises:
            BridgeError: the program is there, and something is wrong with it.
        """
        try:
            return self.load(model_id).program
        except BridgeError as error:
            if error.kind == "not_found" and error.details.get("model") == model_id:
                return None
            raise

    def load(self, model_id: str) -> LoadedModel:
        """Return the program called `model_id`: of the folder, the registry, or ``models:/…`` of MLflow.

        Raises:
            BridgeError: `not_found`: ``Model X not found in registry``; `invalid_request` when several files have the
                name.
        """
        if not isinstance(model_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BridgeError("invalid_request", f"a model id is a text, not {type(model_id).__name__}")
        if model_id.startswith("models:/"):
            return self._from_mlflow(model_id, model_id)
        if (path := self._file_of(model_id)) is not None:
            return self._load_file(path)
        return self._from_registry(model_id, model_id)

    def load_from_config(self, path: Path | str) -> LoadedModel:
        """Load a YAML configuration; see `python_bridge.services.loader.config`.

        Raises:
            BridgeError: `not_found`, `invalid_request` with file and line.
        """
        kept = self._kept(Path(path), self._read_config)
        return kept if isinstance(kept, LoadedModel) else self._from_config(kept)

    def load_from_json(self, path: Path | str) -> LoadedModel:
        """Load a file of program JSON.

        Raises:
            BridgeError: `not_found`, `invalid_request`.
        """
        return self._kept(Path(path), _from_json)

    def _read_config(self, path: Path) -> "LoadedModel | ModelConfig":
        """What another one keeps is looked up every time."""
        config = read_config(path)
        return config if config.program is None else self._from_config(config)

    def load_from_class(
        self, path: str, *, name: str | None = None, signature: str | None = None, args: Mapping[str, Any] | None = None
    ) -> LoadedModel:
        """Return a program of the class at `path` (``"package.module:Class"``).

        It is imported when it is first run, and only if the executor's settings list it in `allowed_imports`.
        """
        program: dict[str, Any] = {"format": 1, "kind": "custom", "import": path}
        if name is not None:
            program["name"] = name
        if signature is not None:
            program["signature"] = signature
        if args:
            program["config"] = {"args": dict(args)}
        return LoadedModel(name or path.rpartition(":")[2], "0.0.0", "class", program)

    def list_models(self) -> list[dict[str, Any]]:
        """Return name, file and what is wrong with it (``None``) for each file of the folder, by name."""
        found: list[dict[str, Any]] = []
        for path in self._paths():
            row: dict[str, Any] = {"name": path.stem, "file": str(path), "version": None, "source": None, "error": None}
            try:
                model = self._load_file(self._file_of(path.stem) or path)
                row |= {"version": model.version, "source": model.source, "metadata": model.metadata}
            except BridgeError as error:
                row["error"] = error.message
            found.append(row)
        return found

    def _paths(self) -> list[Path]:
        if self._folder is None:
            return []
        try:
            paths = sorted(self._folder.iterdir())
        except OSError as error:
            text = f"the folder of programs {self._folder} cannot be read: {error.strerror}"
            raise BridgeError("not_found", text) from None
        return [path for path in paths if path.suffix in _SUFFIXES and _is_name(path.stem)]

    def _file_of(self, name: str) -> Path | None:
        if self._folder is None or not _is_name(name):
            return None
        found = [path for suffix in _SUFFIXES if (path := self._folder / f"{name}{suffix}").exists()]
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise BridgeError("invalid_request", f"{names} in {self._folder} have one name; keep one of them")
        return found[0] if found else None

    def _load_file(self, path: Path) -> LoadedModel:
        return self.load_from_json(path) if path.suffix == ".json" else self.load_from_config(path)

    def _kept(self, path: Path, read: Callable[[Path], T]) -> T:
        try:
            seen = path.stat()
        except OSError as error:
            raise BridgeError("not_found", f"the configuration {path} cannot be read: {error.strerror}") from None
        mark = seen.st_mtime_ns, seen.st_size, seen.st_ino
        with self._lock:
            kept = self._files.get(path)
        if kept is not None and kept[0] == mark:
            return kept[1]
        made = read(path)
        with self._lock:
            self._files[path] = mark, made
        return made

    def _from_config(self, config: ModelConfig) -> LoadedModel:
        if config.program is not None:
            program: Mapping[str, Any] = config.program
        elif config.source == "mlflow":
            program = self._from_mlflow(config.name, str(config.model)).program
        else:
            program = self._from_registry(config.name, str(config.model)).program
        return LoadedModel(config.name, config.version, config.source, program, config.dependencies, config.metadata)

    def _from_registry(self, name: str, model: str) -> LoadedModel:
        program = self._registry(model) if self._registry is not None else None
        if program is None:
            raise BridgeError("not_found", f"Model {model} not found in registry", details={"model": model})
        return LoadedModel(name, "0.0.0", "registry", program)

    def _from_mlflow(self, name: str, uri: str) -> LoadedModel:
        if self._mlflow is None:
            raise BridgeError(
                "invalid_request", f"{uri} needs MLflow's address: DSPyModelLoader(mlflow=MlflowOptions(…))"
            )
        return LoadedModel(name, uri.rpartition("/")[2], "mlflow", self._program_of(uri))

    def _program_of(self, uri: str) -> Mapping[str, Any]:
        with self._lock:
            kept = self._remote.get(uri)
            old = kept is not None and self._clock() - kept[0] >= self._refresh
            if kept is not None and old:
                self._remote[uri] = self._clock(), kept[1]  # one asks, and the others do not wait for it either
        if kept is None:
            return self._ask(uri)
        if old:
            threading.Thread(target=self._ask_again, args=(uri,), name="dspex-models", daemon=True).start()
        return kept[1]

    def _ask(self, uri: str) -> Mapping[str, Any]:
        from python_bridge.tracking.models import load_program

        program = load_program(self._mlflow, uri)
        with self._lock:
            self._remote[uri] = self._clock(), program
        return program

    def _ask_again(self, uri: str) -> None:
        try:
            self._ask(uri)
        except Exception as error:
            if isinstance(error, BridgeError) and error.kind == "not_found":
                with self._lock:
                    self._remote.pop(uri, None)
                return
            logger.warning("MLflow does not give %s anew (%s); its program of before serves", uri, type(error).__name__)


def _is_name(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not {"/", "\0", os.sep} & set(name) and len(name) < _MAX_NAME


def _from_json(path: Path) -> LoadedModel:
    try:
        if not path.is_file():
            raise BridgeError("not_found", f"the program {path} cannot be read: it is no file")
        program = wire_json.decode(path.read_bytes())
        check_shape(program)
    except OSError as error:
        raise BridgeError("not_found", f"the program {path} cannot be read: {error.strerror}") from None
    except BridgeError as error:
        if error.kind == "not_found":
            raise
        raise BridgeError("invalid_request", f"{path}: {error.message}") from None
    found = cast("dict[str, Any]", program)
    return LoadedModel(
        str(found.get("name") or path.stem), "0.0.0", "json", found, metadata=found.get("metadata") or {}
    )


__all__ = ["DSPyModelLoader", "LoadedModel", "Registry"]
