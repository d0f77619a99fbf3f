"""Environments with other versions of dspy, laid over the one of the tests."""

import site
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_UNREACHABLE = ("dns error", "failed to fetch", "error sending request", "could not connect", "timed out", "no route")
VERSIONS = sorted(path.stem.removeprefix("dspy-") for path in _HERE.glob("dspy-*.lock"))


@pytest.fixture(scope="session", params=VERSIONS)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A version of dspy, and a Python that has it: its lock holds what differs, the rest lies beneath."""
    version = request.param
    folder = tmp_path_factory.mktemp(f"dspy-{version}")
    uv = Path(sys.executable).parent / "uv"
    _run(str(uv), "venv", "--quiet", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    lock = _HERE / f"dspy-{version}.lock"
    _run(
        str(uv), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", str(python), "-r", str(lock)
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "beneath.pth").write_text(f"import site; site.addsitedir({site.getsitepackages()[0]!r})\n")
    return version, str(python)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and any(words in done.stderr.lower() for words in _UNREACHABLE):
        pytest.skip(f"the packages cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
