"""The package, its locks, and what belongs into them."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from scripts.tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = ["requirements-uv.lock", "requirements.lock", "requirements-http.lock", "requirements-dev.lock"]
OTHER_VERSIONS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/python/versions/*.lock"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str) -> dict[str, str]:
    """Package → version of a lock file."""
    rows = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    return {normal(name): version for name, version in rows}


def names_of(requirements: list[str]) -> set[str]:
    return {normal(found[0]) for line in requirements if (found := re.match(r"[A-Za-z0-9._-]+", line))}


@pytest.mark.parametrize("lock", [*LOCKS, *OTHER_VERSIONS])
def test_every_locked_package_is_pinned_with_hashes_and_no_index_is_named(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all(re.search(r"==.*\\\n\s+--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"index-url|find-links|://", text)


def test_the_runtime_lock_is_a_part_of_the_full_lock_with_the_same_versions() -> None:
    full, runtime = locked("requirements-dev.lock"), locked("requirements.lock")
    served = locked("requirements-http.lock")
    assert runtime.items() <= served.items() <= full.items()
    assert names_of(PROJECT["optional-dependencies"]["http"]) <= served.keys()
    assert len(runtime) < len(full)


def test_the_locks_hold_every_dependency_and_what_builds_the_package() -> None:
    names = ("grpc", "http", "client", "mlflow", "arrow", "dev")
    extras = [line for name in names for line in PROJECT["optional-dependencies"][name]]
    assert names_of(PROJECT["dependencies"]) | {"hatchling", "editables"} <= locked("requirements.lock").keys()
    assert names_of(extras) - {"python-bridge"} <= locked("requirements-dev.lock").keys()


def test_the_extra_all_holds_every_extra_for_users() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"python-bridge[{','.join(name for name in extras if name not in ('all', 'dev'))}]"]


def imported_packages() -> dict[str, set[str]]:
    """Third-party top-level modules that `python_bridge` imports → the files that do."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "python_bridge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules = [node.module]
            for module in modules:
                found.setdefault(module.split(".")[0], set()).add(str(path.relative_to(ROOT)))
    return {name: files for name, files in found.items() if name not in {*sys.stdlib_module_names, "python_bridge"}}


def test_every_third_party_import_is_a_declared_dependency() -> None:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    declared = names_of([*PROJECT["dependencies"], *extras])
    distributions = {
        **packages_distributions(),
        "pydantic_core": ["pydantic"],
    }  # pinned by pydantic, of which it is a part
    undeclared = {
        module: files
        for module, files in imported_packages().items()
        if not declared & {normal(name) for name in distributions.get(module, [module])}
    }
    assert undeclared == {}


def test_the_wheel_carries_the_contract_the_licence_and_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("python_bridge-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "python-bridge = python_bridge.__main__:main" in archive.read(entry_points).decode()
    assert {
        f"python_bridge/_spec_files/{name}" for name in ("errors.toml", "program.schema.json", "PROTOCOL.md")
    } <= set(names)
    assert "python_bridge/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "bench/", "scripts/")) for name in names)


def test_an_installed_wheel_reads_the_contract_without_the_checkout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("python_bridge-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import python_bridge.errors as e; "
    code += "print(e.__file__, len(e.error_table()))"
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.split()
    assert shown == [str(tmp_path / "site/python_bridge/errors.py"), "17"]


@pytest.mark.req("BC3")
def test_the_licence_is_the_whole_apache_license() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "APPENDIX: How to apply the Apache License to your work." in text
    assert PROJECT["license"] == "Apache-2.0"
    assert 'licenses: ["Apache-2.0"]' in (ROOT / "mix.exs").read_text("utf-8")


def test_both_sides_have_the_same_version() -> None:
    assert f'@version "{PROJECT["version"]}"' in (ROOT / "mix.exs").read_text("utf-8")


def test_the_projects_ci_runs_make_test_without_a_terminal() -> None:
    path = ROOT / ".ci" / "run"
    text = path.read_text("utf-8")
    assert path.stat().st_mode & 0o111
    assert re.search(r"^exec make test </dev/null$", text, re.MULTILINE)
    assert "CI=true" in text
