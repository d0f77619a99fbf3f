"""One configuration file → one program as JSON, with its metadata.

name: answers            # required
version: 1.2.0
source: local            # local (default), registry, mlflow
model: answers           # registry: the program's id; mlflow: models:/name@alias or models:/name/3
kind: chain_of_thought   # predict by default
signature: "question -> answer"
chain: [{kind: …, signature: …}, …]   # in the place of kind and signature
import: my_package.programs:Answers   # kind custom, if the settings allow it
lm: default              # or {name: default, params: {temperature: 0}}
adapter: chat
config: {}
dependencies: {dspy: ">=3.4,<4"}
metadata: {owner: team-a}
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from python_bridge.services.loader.requirements import check_dependencies
from python_bridge.services.loader.yaml_lines import Place, read_yaml

SOURCES = ("local", "registry", "mlflow")
_PROGRAM = ("kind", "signature", "import", "lm", "adapter", "config", "demos", "state", "children", "steps", "tools")
_KNOWN = frozenset({"name", "version", "source", "model", "chain", "dependencies", "metadata", *_PROGRAM})


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What a configuration file says.

    Attributes:
        program: program JSON; ``None`` where `source` is a registry.
        model: what to ask the registry for.
        dependencies: package → installed version.
    """

    name: str
    version: str
    source: str
    program: dict[str, Any] | None
    model: str | None
    place: Place
    dependencies: dict[str, str] = field(default_factory=dict[str, str])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


def read_config(path: Path) -> ModelConfig:
    """Read and check a file; nothing is imported and nothing compiled yet.

    Raises:
        BridgeError: `not_found`, `invalid_request` with file and line.
    """
    values, place = read_yaml(path)
    for name in values:
        if name not in _KNOWN:
            raise place.fail(str(name), f"is no member of a configuration; known are {', '.join(sorted(_KNOWN))}")
    name = values.get("name")
    if not isinstance(name, str) or not name:
        raise place.fail("name", "must be a text")
    source = values.get("source", "local")
    if source not in SOURCES:
        raise place.fail("source", f"must be one of {', '.join(SOURCES)}, it is {source!r:.80}")
    metadata: dict[str, Any] = values.get("metadata") or {}
    if type(metadata) is not dict:
        raise place.fail("metadata", "must be a map")
    return ModelConfig(
        name=name,
        version=str(values.get("version", "0.0.0")),
        source=source,
        program=_program(values, place) if source == "local" else None,
        model=None if source == "local" else _model(values, place),
        place=place,
        dependencies=check_dependencies(values.get("dependencies") or {}, place),
        metadata=metadata,
    )


def _program(values: dict[str, Any], place: Place) -> dict[str, Any]:
    program: dict[str, Any] = {"format": 1, "name": values["name"]}
    program.update({name: values[name] for name in _PROGRAM if name in values})
    chain = values.get("chain")
    if chain is not None:
        if not isinstance(chain, list) or not chain or not all(isinstance(step, dict) for step in chain):  # pyright: ignore[reportUnknownVariableType]
            raise place.fail("chain", "must be a list of steps, each a map with kind and signature")
        steps = cast("list[dict[str, Any]]", chain)
        program |= {"kind": "chain", "steps": [{"format": 1, "kind": "predict", **step} for step in steps]}
    elif "import" in values:
        program.setdefault("kind", "custom")
    elif "signature" not in values and "kind" not in values:
        raise place.fail("signature", "is missing: a local program needs a signature, a chain or an import")
    program.setdefault("kind", "predict")
    return program


def _model(values: dict[str, Any], place: Place) -> str:
    model = values.get("model", values["name"])
    if not isinstance(model, str):
        raise place.fail("model", "must be a text")
    return model


__all__ = ["SOURCES", "ModelConfig", "read_config"]
