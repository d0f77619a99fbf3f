"""Versions in MLflow's model registry, and the logged models behind them."""

from typing import Any

MODEL_TAG = "dspex.model_id"


def logged_model_id(client: Any, uri: str) -> str | None:
    """Return the id of MLflow's logged model behind ``models:/…``; ``None`` for what `log_program` has not made."""
    try:
        version = find_version(client, uri.removeprefix("models:/"))
    except Exception:  # a model of another registry, a server without one: the trace stays without a link
        return None
    return (version.tags or {}).get(MODEL_TAG)


def find_version(client: Any, text: str) -> Any:
    """Return the version that ``name@alias``, ``name/3`` or ``name`` (the latest) means.

    Raises:
        LookupError: there is no version; or what MLflow raises.
    """
    name, at, alias = text.partition("@")
    if at:
        return client.get_model_version_by_alias(name, alias)
    name, slash, number = text.rpartition("/")
    if slash:
        return client.get_model_version(name, number)
    versions = client.search_model_versions(f"name = '{text}'")
    return max(versions, key=lambda version: int(version.version)) if versions else _missing()


def _missing() -> Any:
    raise LookupError("no version")


__all__ = ["MODEL_TAG", "find_version", "logged_model_id"]
