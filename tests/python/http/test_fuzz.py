"""A fuzzer driven by the OpenAPI document finds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.python.http.conftest import TOKEN, Server


@pytest.mark.req("RT-2")
def test_a_fuzzer_that_reads_the_openapi_document_finds_nothing(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json",
            "--header", f"Authorization: Bearer {TOKEN}",
            "--phases", "examples,coverage,fuzzing",
            "--max-examples", "20",
            "--seed", "7",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
