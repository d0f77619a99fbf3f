"""What errors say that the caller can do."""

import pytest

from python_bridge.errors import BridgeError

pytestmark = pytest.mark.req("NFR2.2.2", "NFR4.1.4")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BridgeError("invalid_input", "no optimizer 'x'"), "the message says"),
        (BridgeError("invalid_input", "two", details={"problems": [{"path": "q"}]}), "declared input fields"),
        (BridgeError("not_found", "no session 'x'"), "Check the name."),
        (BridgeError("not_found", "no program", need="program"), "Send program.put"),
        (BridgeError("conflict", "changed"), "Repeat the call"),
        (BridgeError("conflict", "taken", retryable=False), "stays so"),
        (BridgeError("lm_error", "no", details={"status": 401}), "key"),
        (BridgeError("lm_error", "no", retry_after=1.5, details={"status": 429}), "Wait 1.5 seconds"),
        (BridgeError("lm_error", "no", details={"status": 429}), "Wait a while"),
        (BridgeError("lm_error", "no", details={"status": 503}), "the provider failed"),
        (BridgeError("lm_error", "no", details={"status": "odd"}), "details.provider"),
        (BridgeError("timeout", "late"), "Raise the timeout"),
    ],
    ids=lambda value: None if isinstance(value, str) else value.message,
)
def test_a_hint_fits_the_case_and_not_only_the_kind(error: BridgeError, words: str) -> None:
    assert words in error.to_object()["data"]["hint"]


def test_the_hint_of_the_other_side_is_kept() -> None:
    told = {"code": -32601, "message": "none", "data": {"kind": "not_found", "hint": "Ask for it first."}}
    assert BridgeError.from_object(told).to_object()["data"]["hint"] == "Ask for it first."
    assert BridgeError.from_object({**told, "data": {"kind": "not_found", "hint": 5}}).hint == "Check the name."
