"""The folder of programs on its own."""

from pathlib import Path

import pytest

from python_bridge.errors import BridgeError
from python_bridge.transports.http.catalogue import Catalogue, view


@pytest.mark.req("RT-1", "NFR2.2.2")
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"[]"])
def test_a_file_that_holds_no_program_is_named_and_keeps_no_other_from_being_listed(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    (tmp_path / "qa.json").write_text('{"format": 1, "kind": "predict", "signature": "q -> a"}')
    catalogue = Catalogue(tmp_path)
    with pytest.raises(BridgeError, match="the program bad") as caught:
        catalogue.get("bad")
    assert caught.value.kind == "program_error"
    assert "the program bad" in view(catalogue, "bad")["error"]
    assert view(catalogue, "qa")["signature"] == "q -> a"
