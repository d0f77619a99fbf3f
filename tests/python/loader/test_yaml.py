"""What a configuration may say, and what an attacker may write into one: a value, or an error with file and line."""

import os
from pathlib import Path
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.services.loader.config import read_config
from python_bridge.services.loader.requirements import check_dependencies
from python_bridge.services.loader.yaml_lines import MAX_BYTES, Place, read_yaml

pytestmark = pytest.mark.req("EX-11")
BASE = "name: a\nsignature: 'q -> a'\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes) -> tuple[int, str]:
    path = written(folder, text)
    with pytest.raises(BridgeError) as raised:
        read_config(path)
    assert raised.value.kind == "invalid_request"
    start, line, rest = raised.value.message.split(":", 2)
    assert (start, int(line)) == (str(path), raised.value.details["line"])
    return int(line), rest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-02", "2024-01-02"),
        ("2024-13-45", "2024-13-45"),
        ("-7", -7),
        ("1e-3", 0.001),
        ("2.50", 2.5),
        ("-.inf", float("-inf")),
        ("~", None),
        ("", None),
        ('"5"', "5"),
        ("!!str 5", "5"),
        ("[1, {b: c}]", [1, {"b": "c"}]),
    ],
)
def test_words_mean_what_they_mean_in_json_or_are_texts(tmp_path: Path, text: str, value: Any) -> None:
    assert read_yaml(written(tmp_path, f"x: {text}\n"))[0] == {"x": value}


@pytest.mark.parametrize("version", ["1.10", "010", "2024-01-02", "1e3", "'1.0'"])
def test_a_version_is_kept_as_it_is_written(tmp_path: Path, version: str) -> None:
    assert read_config(written(tmp_path, f"{BASE}version: {version}\n")).version == version.strip("'")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (BASE + "name: b\n", 3, "name stands here again; it stands in line 1 already"),
        (BASE + "config:\n  n: 1\n  n: 2\n", 5, "config.n stands here again"),
        (BASE + "version: null\n", 3, "must be a version"),
        (BASE + "version: [1]\n", 3, "must be a version"),
        (BASE + "1: x\n", 3, "'1' is no name of a member"),
        (BASE + "[1, 2]: x\n", 3, "there is no name of a member"),
        (BASE + "metadata:\n  <<: {a: 1}\n", 4, "merge keys"),
        (BASE + "metadata: !!python/name:os.system\n", 3, "the tag !!python/name:os.system is not read"),
        (BASE + "metadata: {a: !!binary aGk=}\n", 3, "the tag !!binary is not read"),
        (BASE + "metadata: !!set {a, b}\n", 3, "the tag !!set is not read"),
        (BASE + "metadata: {a: !!int x}\n", 3, "the tag !!int is not read"),
        (BASE + "metadata: {a: !mine x}\n", 3, "the tag !mine is not read"),
        (BASE + f"metadata: {{a: {'9' * 5000}}}\n", 3, "the number has 5000 digits"),
        (BASE + "---\n" + BASE, 3, "another document"),
        (BASE + "x: \ty: z\n", 3, "this is no YAML"),
        (b"name: a\nsignature: \xff\n", 2, "a byte that is no UTF-8"),
        (b"name: a\nsignature: \0\n", 1, "a character that YAML does not take"),
        ("- a\n", 1, "must be a map"),
        ("", 1, "must be a map"),
        (BASE + "kind: predcit\n", 3, 'kind "predcit" is not one of "predict"'),
        (BASE + "config:\n", 3, "config null is not of type"),
        (BASE + "adapter: yes\n", 3, 'adapter "yes" is not one of'),
        ("name: a\nsignature: 'q - a'\n", 2, "signature cannot be read: a signature needs one `->`"),
        ("name: a\nchain:\n  - signature: 'a -> b'\n  - signature: 'b -> c['\n", 4, "chain.1.signature cannot be read"),
        ("name: a\nchain:\n  - signature: 'a -> b'\n    knd: x\n", 3, "knd"),
        (BASE + "chain: [{signature: 'a -> b'}]\n", 2, "signature does not go with chain"),
        (BASE + "model: b\n", 3, "model names a program of a registry"),
        (BASE + "source: mlflow\n", 2, "signature belongs to local programs"),
        (BASE + "source:\n", 3, "must be one of local, registry, mlflow, it is None"),
        (BASE + "dependencies: [dspy]\n", 3, "must be a map of packages"),
        (BASE + "dependencies:\n  dspy: 3.4\n", 4, "dependencies.dspy must be a text, as '>=3.4,<4', it is 3.4"),
    ],
)
def test_what_cannot_be_is_told_with_its_line(tmp_path: Path, text: str | bytes, line: int, words: str) -> None:
    found, rest = refused(tmp_path, text)
    assert words in rest
    assert found == line


def test_aliases_are_copied_and_cannot_grow_without_bounds(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, BASE + "metadata: &m {a: [1]}\nconfig: *m\n"))
    assert config.program is not None
    config.program["config"]["a"].append(2)
    assert config.metadata == {"a": [1]}
    assert "more than 100000 values" in refused(tmp_path, BASE + BOMB)[1]
    assert "levels deep" in refused(tmp_path, BASE + "metadata: &m {a: *m}\n")[1]


@pytest.mark.parametrize("text", ["[" * 1000, "{a: " * 1000, BASE + "metadata: " + "[" * 70 + "]" * 70])
def test_nesting_is_bounded(tmp_path: Path, text: str) -> None:
    assert "levels deep" in refused(tmp_path, text)[1]


def test_large_files_and_what_is_no_file_are_not_read(tmp_path: Path) -> None:
    assert f"more than {MAX_BYTES}" in refused(tmp_path, BASE + "#" * MAX_BYTES)[1]
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("pipe.yaml", ".", "none.yaml"):
        with pytest.raises(BridgeError) as raised:
            read_config(tmp_path / name)
        assert raised.value.kind == "not_found"


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ("", True),
        (">=3.0,<99", True),
        (" >= 3.0 , < 99 ", True),
        ("==3.*", False),
        ("!=3.*", True),
        ("~=0.1", False),
        (">=99", False),
    ],
)
def test_conditions_of_dependencies_are_checked(tmp_path: Path, condition: str, fits: bool) -> None:
    place, package = Place(tmp_path / "a.yaml"), "pytest"
    if fits:
        assert set(check_dependencies({package: condition}, place)) == {package}
        return
    with pytest.raises(BridgeError, match=r"is installed; run: pip install 'pytest"):
        check_dependencies({package: condition}, place)


@pytest.mark.parametrize(
    "condition",
    ["~=3", ">=3.*", "3.4", "^3.4", "latest", "*", ",", "<4,", "=>3", ">=3; extra", ">=" + "9" * 5000, ">=3.4.0rc1"],
)
def test_conditions_that_cannot_be_read_are_refused(tmp_path: Path, condition: str) -> None:
    with pytest.raises(BridgeError, match="a condition that cannot be read"):
        check_dependencies({"dspy": condition}, Place(tmp_path / "a.yaml"))


def test_python_itself_may_be_a_dependency(tmp_path: Path) -> None:
    assert set(check_dependencies({"python": ">=3.11"}, Place(tmp_path / "a.yaml"))) == {"python"}


@pytest.mark.parametrize(
    ("installed", "condition", "fits"),
    [
        ("3.5.0rc1", ">=3.5", False),
        ("3.5.0rc1", ">=3.4", True),
        ("3.5.0rc1", "<3.5", False),
        ("3.5.0", ">=3.5", True),
        ("3.5.0.post1", ">=3.5", True),
        ("3.4.9", "~=3.4.1", True),
        ("3.5.0", "~=3.4.1", False),
        ("2024.1", "==2024.*", True),
        ("1.0+local", "==1.0", True),
    ],
)
def test_versions_are_compared_as_packages_are(tmp_path: Path, installed: str, condition: str, fits: bool) -> None:
    from python_bridge.services.loader.requirements import fulfils, read_conditions

    place = Place(tmp_path / "a.yaml")
    assert fulfils(installed, read_conditions(condition, "dependencies.x", place)) is fits
