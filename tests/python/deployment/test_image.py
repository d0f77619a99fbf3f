"""The image: its instructions, and its steps run in a plain shell."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from scripts.tree import ROOT
from tests.python.deployment.dockerfile import parse

ARGUMENTS, STAGES = parse(ROOT / "Dockerfile")
BUILD, RUN = STAGES
pytestmark = pytest.mark.req("BC4")


def test_the_images_are_pinned_and_none_is_the_latest() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", ARGUMENTS["PYTHON_VERSION"])
    for stage in STAGES:
        assert re.fullmatch(r"python:\$\{PYTHON_VERSION\}-slim-[a-z]+", stage.image)


def test_the_server_runs_as_a_user_without_rights_and_without_what_built_it() -> None:
    user = RUN.all("USER")[-1]
    assert [int(part) >= 10_000 for part in user.split(":")] == [True, True]
    words = [word for word, _ in RUN.instructions]
    assert "RUN" not in words[words.index("USER") :]
    assert RUN.all("COPY") == ["--from=build /opt/bridge /opt/bridge"]


def test_packages_come_from_the_lock_with_hashes_and_nothing_else_is_fetched() -> None:
    installs = [text for text in BUILD.all("RUN") if "pip install" in text]
    assert len(installs) == 2
    assert "--require-hashes -r requirements-http.lock" in installs[0]
    assert "--no-deps" in installs[1]
    assert "--no-build-isolation" in installs[1]
    assert not any(re.search(r"curl|wget|apt-get|ADD", text) for stage in STAGES for text in stage.all("RUN"))


def test_only_what_is_needed_is_sent_and_copied() -> None:
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert sent[0] == "*"
    assert {line[1:] for line in sent if line.startswith("!")} == {name.removeprefix("./") for name in BUILD.copied()}
    assert all((ROOT / name).exists() for name in BUILD.copied())


def test_no_secret_is_part_of_the_image() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert not re.search(r"SECRET|TOKEN|API_KEY|PASSWORD", text)


def built(folder: Path) -> Path:
    """The package, installed from the copied files alone, as the second step installs it."""
    source = folder / "src"
    source.mkdir()
    for name in BUILD.copied():
        path = ROOT / name
        shutil.copytree(path, source / name) if path.is_dir() else shutil.copy(path, source / name)
    target = folder / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--disable-pip-version-check", "--target", str(target), "."], cwd=source, check=True, timeout=120
    )
    return target


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_the_steps_in_a_plain_shell_make_a_server_that_is_healthy_and_ends_well(tmp_path: Path) -> None:
    target = built(tmp_path)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    environ = {**RUN.environ(), "PATH": os.environ["PATH"], "PYTHONPATH": str(target), "API_PORT": free_port()}
    environ |= {"HOME": str(state), "XDG_STATE_HOME": str(state), "DSPEX_PROGRAMS": str(tmp_path)}
    assert [RUN.command("ENTRYPOINT"), RUN.command("CMD")] == [["python-bridge"], ["serve"]]
    command = [sys.executable, "-m", "python_bridge", *RUN.command("CMD")]

    refused = subprocess.run(command, cwd=state, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "SECRET_KEY" in refused.stderr

    server = subprocess.Popen(command, cwd=state, env={**environ, "SECRET_KEY": "s"}, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening on ")
        check = [sys.executable, *RUN.command("HEALTHCHECK")[1:]]
        # The socket listens before the application is there: this first request waits for it.
        with urllib.request.urlopen(f"http://127.0.0.1:{environ['API_PORT']}/healthz", timeout=60) as response:
            assert response.status == 200
        assert subprocess.run(check, env=environ, timeout=60, check=False).returncode == 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        assert subprocess.run(check, env=environ, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode != 0
    finally:
        server.kill()
        server.wait(10)
        if server.stdout:
            server.stdout.close()
