"""Exceptions become errors of the closed set in one place."""

import asyncio
import logging

import pytest

from python_bridge.errors import BridgeError
from python_bridge.services.faults import to_bridge_error

pytestmark = pytest.mark.req("NFR2.2.1", "NFR2.2.2")


def raised(exception: BaseException) -> BaseException:
    try:
        raise exception
    except BaseException as caught:
        return caught


def test_a_defect_is_logged_in_full_and_its_text_does_not_cross(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = to_bridge_error(raised(ValueError("secret")), "call")
    assert error.kind == "internal"
    assert "secret" not in str(error.to_object())
    assert "ValueError" in error.message
    assert "secret" in caplog.text


def test_tracebacks_cross_only_in_debug_mode() -> None:
    error = to_bridge_error(raised(BridgeError("conflict", "x")), "call")
    assert "traceback" not in error.to_object()["data"]
    error = to_bridge_error(raised(BridgeError("conflict", "x")), "call", debug=True)
    assert "Traceback" in error.to_object()["data"]["traceback"]


@pytest.mark.parametrize(
    ("exception", "kind"),
    [(asyncio.CancelledError(), "cancelled"), (RecursionError(), "limit_exceeded"), (MemoryError(), "limit_exceeded")],
)
def test_exceptions_of_python_have_their_kinds(exception: BaseException, kind: str) -> None:
    assert to_bridge_error(exception, "call").kind == kind
