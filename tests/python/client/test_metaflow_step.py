"""The example for Metaflow, run against a server: as a flow where Metaflow is installed, else as a plain script."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.tree import ROOT
from tests.python.http.conftest import TOKEN, Server


@pytest.mark.req("EX-13")
def test_the_step_answers_each_question(server: Server, tmp_path: Path) -> None:
    arguments = ["run", "--server", server.url] if find_spec("metaflow") else []
    environ = {
        **os.environ,
        "DSPEX_SERVER": server.url,
        "DSPEX_TOKEN": TOKEN,
        "USERNAME": "tester",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(tmp_path / "flow"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "metaflow_step.py"), *arguments],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line[line.index("{") :]) for line in done.stdout.splitlines() if '"outputs"' in line]
    assert [answer["outputs"] for answer in answers] == [{"answer": "42"}] * 2
