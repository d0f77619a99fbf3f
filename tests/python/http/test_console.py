"""The console in a real browser."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.python.http.conftest import Server


def dump(browser: str, profile: Path, url: str) -> str:
    """What a page shows once its scripts have run."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom", url,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout


@pytest.mark.req("RT-1", "EX-9")
def test_the_console_shows_health_statistics_programs_and_executions(tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing; scripts/setup-chromium installs it")
        pytest.skip("chromium is not installed")
    server = Server(tmp_path, token_hashes=())
    with server.client(None) as client:
        made = client.post("/execute", json={"program_id": "qa", "inputs": {"question": "?"}}).json()
        client.post(
            "/execute", json={"program_id": "qa", "inputs": {"<img src=x onerror=alert(1)>": "?", "question": ""}}
        )
    shown, docs = (dump(browser, tmp_path / "browser", server.url + path) for path in ("/", "/docs"))
    server.close()
    assert "<code>/api/v1/dspy/execute/batch</code>" in docs
    assert "dry_run" in docs
    assert "`&lt;img src=x onerror=alert(1)&gt;`" in shown
    assert '<span id="health" class="good">ok</span>' in shown
    assert made["execution_id"] in shown
    assert f'<td class="number">{os.getpid()}</td>' in shown
    assert "predict: question -&gt; answer" in shown
    assert '<textarea name="question"' in shown
    assert "<b>2</b><span>executions</span>" in shown
