"""Errors on their way to the wire."""

import pytest

from python_bridge.errors import MAX_TEXT, BridgeError

pytestmark = pytest.mark.req("NFR2.2.2")


def test_what_an_error_quotes_is_cut_wherever_it_stands() -> None:
    endless = "x" * 1_000_000
    problems = [{"path": endless, "message": "is not an input"}]
    error = BridgeError(
        "invalid_input", f"the inputs do not fit: {endless}", details={"problems": problems, "limit": 7}
    )
    body = error.to_object()
    assert len(body["message"]) == MAX_TEXT
    assert body["message"].startswith("the inputs do not fit: xxx")
    (problem,) = body["data"]["details"]["problems"]
    assert (len(problem["path"]), problem["path"][-1], problem["message"]) == (MAX_TEXT, "…", "is not an input")
    assert body["data"]["details"]["limit"] == 7
    assert error.details["problems"] is problems


def test_a_text_that_fits_is_left_as_it_is() -> None:
    text = "y" * MAX_TEXT
    assert BridgeError("internal", text).to_object()["message"] == text
