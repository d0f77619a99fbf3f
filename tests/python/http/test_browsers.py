"""What browsers are told, and what other pages may do through them."""

import re
from pathlib import Path

import httpx
import pytest

from tests.python.http.conftest import TOKEN, Server
from tests.python.http.test_api import QA

ORIGIN = "https://app.example"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, idempotency-key",
}


@pytest.mark.req("RT-1", "RT-2")
def test_a_page_of_an_allowed_origin_may_call_with_its_token(tmp_path: Path) -> None:
    server = Server(tmp_path, cors_origins=(ORIGIN,))
    url = f"{server.url}/api/v1/dspy/execute"
    asked = httpx.options(url, headers=PREFLIGHT)
    done = httpx.post(url, json=QA, headers={"origin": ORIGIN, "authorization": f"Bearer {TOKEN}"})
    refused = httpx.post(url, json=QA, headers={"origin": ORIGIN})
    other = httpx.options(url, headers={**PREFLIGHT, "origin": "https://evil.example"})
    server.close()
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert (done.status_code, done.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "x-request-id" in done.headers["access-control-expose-headers"]
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.req("RT-1")
def test_no_origin_is_allowed_unless_it_is_named(server: Server) -> None:
    url = f"{server.url}/api/v1/dspy/execute"
    asked = httpx.options(url, headers=PREFLIGHT)
    done = httpx.post(url, json=QA, headers={"origin": ORIGIN, "authorization": f"Bearer {TOKEN}"})
    assert asked.status_code == 401
    assert not [name for name in [*asked.headers, *done.headers] if name.startswith("access-control")]


@pytest.mark.req("RT-1", "NFR2.2.2")
def test_without_a_token_only_loopback_names_are_answered(tmp_path: Path) -> None:
    server = Server(tmp_path, token_hashes=())
    hosts = [
        "localhost:8000",
        "127.0.0.1",
        "[::1]:80",
        "a.localhost",
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
    ]
    url = f"{server.url}/api/v1/dspy/programs"
    answers = [httpx.get(url, headers={"host": host}) for host in hosts]
    server.close()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 421, 421, 421]
    assert "set SECRET_KEY" in answers[-1].json()["detail"]


@pytest.mark.req("RT-1")
def test_with_a_token_every_name_is_answered(server: Server) -> None:
    headers = {"host": "bridge.example", "authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{server.url}/api/v1/dspy/programs", headers=headers).status_code == 200


@pytest.mark.req("RT-1", "RT-2")
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_load_nothing_from_elsewhere(server: Server, path: str) -> None:
    page = httpx.get(server.url + path)
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)=.(?:https?:)?//", page.text)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.req("RT-1")
def test_the_rate_counts_a_token_however_it_is_written(tmp_path: Path) -> None:
    server = Server(tmp_path, rate=0.01, burst=2)
    schemes = ["Bearer ", "bearer ", "BEARER   "]
    url = f"{server.url}/api/v1/dspy/programs"
    statuses = [httpx.get(url, headers={"authorization": scheme + TOKEN}).status_code for scheme in schemes]
    server.close()
    assert statuses == [200, 200, 429]


@pytest.mark.req("RT-1")
def test_without_tokens_the_rate_counts_the_address(tmp_path: Path) -> None:
    server = Server(tmp_path, rate=0.01, burst=2, token_hashes=())
    url = f"{server.url}/api/v1/dspy/programs"
    statuses = [httpx.get(url, headers={"authorization": f"Bearer {number}"}).status_code for number in range(3)]
    server.close()
    assert statuses == [200, 200, 429]
