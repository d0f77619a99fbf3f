"""Programs as versions of MLflow's registry: our JSON as an artifact, nothing pickled, no keys."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.tracking.mlflow_exporter import MlflowOptions, end_run, find_experiment, import_mlflow
from python_bridge.tracking.versions import MODEL_TAG, find_version

ARTIFACT = "program.json"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_SECRETS = ("api_key", "authorization", "secret", "password", "extra_headers")


def log_program(options: MlflowOptions, name: str, program: Mapping[str, Any], alias: str | None = None) -> str:
    """Store a program as a new version of the registered model `name`; return the version.

    Args:
        alias: moved to the new version, for ``models:/name@alias``.

    Raises:
        BridgeError: `invalid_request` when a member looks like a secret, `unavailable` when MLflow is missing.
    """
    if (found := _secret(program, "program")) is not None:
        raise BridgeError("invalid_request", f"{found} looks like a secret; name LMs, and keep keys in the environment")
    mlflow = import_mlflow()
    from mlflow.tracing.client import TracingClient

    client = mlflow.MlflowClient(options.uri)
    experiment = find_experiment(client, options)
    run = client.create_run(experiment, run_name=f"{name} (program)")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ARTIFACT
        path.write_text(json.dumps(program, ensure_ascii=False, indent=2), "utf-8")
        client.log_artifact(run.info.run_id, str(path))
    end_run(TracingClient(options.uri).store, run.info.run_id, "FINISHED")
    if not client.search_registered_models(f"name = '{name}'", max_results=1):
        client.create_registered_model(name)
    tags = {"dspex.format": "program-json"}
    # What traces are linked to: MLflow keeps no flavour of ours, so the model is one that lives elsewhere.
    logged = client.create_logged_model(experiment, name, run.info.run_id, tags, model_type="dspex-program")
    client.finalize_logged_model(logged.model_id, "READY")
    source = f"{run.info.artifact_uri}/{ARTIFACT}"
    version = client.create_model_version(name, source, run.info.run_id, tags={**tags, MODEL_TAG: logged.model_id})
    if alias is not None:
        client.set_registered_model_alias(name, alias, version.version)
    return str(version.version)


def load_program(options: MlflowOptions, uri: str) -> dict[str, Any]:
    """Return the program JSON of ``models:/name@alias``, ``models:/name/3`` or ``models:/name`` (the latest).

    Raises:
        BridgeError: `not_found`: ``Model X not found in registry``; `unavailable` when MLflow is missing, or does not
            answer; `invalid_request` for what is no JSON.
    """
    mlflow = import_mlflow()
    client = mlflow.MlflowClient(options.uri)
    failures = (mlflow.exceptions.MlflowException, OSError)
    try:
        version = find_version(client, uri.removeprefix("models:/"))
    except (*failures, LookupError) as error:
        if isinstance(error, LookupError) or getattr(error, "error_code", None) in _MISSING:
            details = {"model": uri, "cause": str(error)[:300]}
            raise BridgeError("not_found", f"Model {uri} not found in registry", details=details) from None
        raise _silent(uri, error) from None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = client.download_artifacts(version.run_id, ARTIFACT, folder)
            return json.loads(Path(path).read_text("utf-8"))
    except ValueError:
        raise BridgeError("invalid_request", f"the artifact {ARTIFACT} of {uri} is no JSON; log it anew") from None
    except failures as error:
        raise _silent(uri, error) from None


def _silent(uri: str, error: Exception) -> BridgeError:
    text = f"MLflow does not give {uri}: {type(error).__name__}; see whether its server and its artifacts are there"
    return BridgeError("unavailable", text, details={"model": uri, "cause": str(error)[:300]})


def _secret(value: Any, path: str) -> str | None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if any(part in str(name).lower() for part in _SECRETS):
                return f"{path}.{name}"
            if (found := _secret(item, f"{path}.{name}")) is not None:
                return found
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if (found := _secret(item, f"{path}.{index}")) is not None:
                return found
    return None


__all__ = ["ARTIFACT", "load_program", "log_program"]
