"""One configuration file → one program as JSON, with its metadata.

name: answers            # required
version: 1.2.0           # kept as it is written
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

from python_bridge.engine.programs import check_shape
from python_bridge.engine.signatures.parser import parse_signature
from python_bridge.errors import BridgeError
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
    _check_belonging(values, source, place)
    return ModelConfig(
        name=name,
        version=_version(values, place),
        source=source,
        program=_program(values, place) if source == "local" else None,
        model=None if source == "local" else _model(values, place),
        place=place,
        dependencies=check_dependencies(values.get("dependencies", {}), place),
        metadata=_map(values, "metadata", place),
    )


def _version(values: dict[str, Any], place: Place) -> str:
    """As it is written: the number 1.10 would be 1.1."""
    value = values.get("version", "0.0.0")
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
        raise place.fail("version", f"must be a version, as 1.2.0, it is {value!r:.80}")
    return place.texts.get("version", "0.0.0")


def _map(values: dict[str, Any], name: str, place: Place) -> dict[str, Any]:
    value = values.get(name, {})
    if not isinstance(value, dict):
        raise place.fail(name, f"must be a map, it is {value!r:.80}")
    return cast("dict[str, Any]", value)


def _check_belonging(values: dict[str, Any], source: str, place: Place) -> None:
    """Members that would be left out without a word are refused."""
    if source == "local" and "model" in values:
        raise place.fail("model", "names a program of a registry; set source to registry or mlflow, or leave it out")
    program = [name for name in values if name in (*_PROGRAM, "chain")]
    if source != "local" and program:
        raise place.fail(program[0], f"belongs to local programs, and the source is {source}; leave one of them out")
    beside = [name for name in ("kind", "signature", "import", "steps") if name in values]
    if "chain" in values and beside:
        raise place.fail(beside[0], "does not go with chain, whose steps have their own; leave one of them out")


def _program(values: dict[str, Any], place: Place) -> dict[str, Any]:
    program: dict[str, Any] = {"format": 1, "name": values["name"]}
    program.update({name: values[name] for name in _PROGRAM if name in values})
    if "chain" in values:
        chain = values["chain"]
        if not isinstance(chain, list) or not chain or not all(isinstance(step, dict) for step in chain):  # pyright: ignore[reportUnknownVariableType]
            raise place.fail("chain", "must be a list of steps, each a map with kind and signature")
        steps = cast("list[dict[str, Any]]", chain)
        program |= {"kind": "chain", "steps": [{"format": 1, "kind": "predict", **step} for step in steps]}
    elif "import" in values:
        program.setdefault("kind", "custom")
    elif "signature" not in values and "kind" not in values:
        raise place.fail("signature", "is missing: a local program needs a signature, a chain or an import")
    program.setdefault("kind", "predict")
    _check(program, place)
    return program


def _check(program: dict[str, Any], place: Place) -> None:
    try:
        check_shape(program)
    except BridgeError as error:
        problems: list[dict[str, str]] = error.details.get("problems", [])
        if not problems:
            raise place.fail_at(1, error.message) from None
        first = problems[0]
        raise place.fail(_member(first["path"], place), first["message"]) from None
    _check_signatures(program, "", place)


def _check_signatures(program: dict[str, Any], prefix: str, place: Place) -> None:
    signature = program.get("signature")
    if isinstance(signature, str):
        try:
            parse_signature(signature)
        except BridgeError as error:
            raise place.fail(_member(f"program.{prefix}signature", place), f"cannot be read: {error.message}") from None
    for index, step in enumerate(program.get("steps", [])):
        _check_signatures(step, f"{prefix}steps.{index}.", place)
    for name, child in program.get("children", {}).items():
        _check_signatures(child, f"{prefix}children.{name}.", place)


def _member(path: str, place: Place) -> str:
    """The member of the file that a path within the program stands for."""
    member = path.removeprefix("program").removeprefix(".")
    if "chain" in place.lines and member.partition(".")[0] == "steps":
        member = "chain" + member.removeprefix("steps")
    return member or "name"


def _model(values: dict[str, Any], place: Place) -> str:
    model = values.get("model", values["name"])
    if not isinstance(model, str):
        raise place.fail("model", "must be a text")
    return model


__all__ = ["SOURCES", "ModelConfig", "read_config"]
