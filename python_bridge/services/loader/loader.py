"""`DSPyModelLoader`: programs by name, from files, classes and registries; loaded when asked for, and kept."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cachetools import LRUCache

from python_bridge.errors import BridgeError
from python_bridge.services.loader.config import ModelConfig, read_config
from python_bridge.wire import json as wire_json

_MAX_KEPT = 256

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

    Args:
        folder: of configuration files (``*.yaml``, ``*.yml``) and program files (``*.json``), by name.
        registry: our program registry.
        mlflow: MLflow's registry (`python_bridge.tracking.mlflow_exporter.MlflowOptions`).
    """

    def __init__(
        self, folder: Path | str | None = None, *, registry: Registry | None = None, mlflow: Any = None
    ) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._registry = registry
        self._mlflow = mlflow
        self._lock = threading.Lock()
        self._files: LRUCache[Path, tuple[int, LoadedModel]] = LRUCache(_MAX_KEPT)

    def __call__(self, model_id: str) -> Mapping[str, Any] | None:
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
            BridgeError: `not_found`: ``Model X not found in registry``.
        """
        if model_id.startswith("models:/"):
            return self._from_mlflow(model_id, model_id)
        if (path := self._files_by_name().get(model_id)) is not None:
            return self.load_from_json(path) if path.suffix == ".json" else self.load_from_config(path)
        return self._from_registry(model_id, model_id)

    def load_from_config(self, path: Path | str) -> LoadedModel:
        """Load a YAML configuration; see `python_bridge.services.loader.config`.

        Raises:
            BridgeError: `not_found`, `invalid_request` with file and line.
        """
        return self._kept(Path(path), lambda file: self._from_config(read_config(file)))

    def load_from_json(self, path: Path | str) -> LoadedModel:
        """Load a file of program JSON.

        Raises:
            BridgeError: `not_found`, `invalid_request`.
        """
        return self._kept(Path(path), _from_json)

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
        for name, path in sorted(self._files_by_name().items()):
            row: dict[str, Any] = {"name": name, "file": str(path), "version": None, "source": None, "error": None}
            try:
                model = self.load_from_json(path) if path.suffix == ".json" else self.load_from_config(path)
                row |= {"version": model.version, "source": model.source, "metadata": model.metadata}
            except BridgeError as error:
                row["error"] = error.message
            found.append(row)
        return found

    def _files_by_name(self) -> dict[str, Path]:
        if self._folder is None or not self._folder.is_dir():
            return {}
        return {path.stem: path for path in sorted(self._folder.iterdir()) if path.suffix in (".yaml", ".yml", ".json")}

    def _kept(self, path: Path, read: Callable[[Path], LoadedModel]) -> LoadedModel:
        try:
            changed = path.stat().st_mtime_ns
        except OSError as error:
            raise BridgeError("not_found", f"the configuration {path} cannot be read: {error.strerror}") from None
        with self._lock:
            kept = self._files.get(path)
        if kept is not None and kept[0] == changed:
            return kept[1]
        model = read(path)
        with self._lock:
            self._files[path] = changed, model
        return model

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
        from python_bridge.tracking.models import load_program

        return LoadedModel(name, uri.rpartition("/")[2], "mlflow", load_program(self._mlflow, uri))


def _from_json(path: Path) -> LoadedModel:
    try:
        program = wire_json.decode(path.read_bytes())
    except OSError as error:
        raise BridgeError("not_found", f"the program {path} cannot be read: {error.strerror}") from None
    except BridgeError as error:
        raise BridgeError("invalid_request", f"{path}: {error.message}") from None
    if not isinstance(program, dict):
        raise BridgeError("invalid_request", f"{path}: a program is a JSON object")
    found = cast("dict[str, Any]", program)
    return LoadedModel(
        str(found.get("name") or path.stem), "0.0.0", "json", found, metadata=found.get("metadata") or {}
    )


__all__ = ["DSPyModelLoader", "LoadedModel", "Registry"]
