"""Typed parameters of operations."""

from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.protocol.operations import KillParams, ModuleCallParams, Nothing
from python_bridge.protocol.params import read_params

pytestmark = pytest.mark.req("NFR2.2.2")


@pytest.mark.parametrize(
    ("cls", "params", "message"),
    [
        (Nothing, {"x": 1}, "ping does not know 'x'; it takes nothing"),
        (KillParams, {}, "ping lacks pid (an integer); it takes pid, signal"),
        (KillParams, {"pid": True}, "pid of ping must be an integer, it is true or false"),
        (KillParams, {"pid": 1, "signal": None}, "signal of ping must be text, it is null"),
        (ModuleCallParams, {"module": "x", "inputs": []}, "inputs of ping must be a map, it is a list"),
        (ModuleCallParams, {"module": "x", "inputs": {}, "options": b""}, "options of ping must be a map, it is bytes"),
    ],
)
def test_wrong_parameters_are_named(cls: type, params: dict[str, Any], message: str) -> None:
    with pytest.raises(BridgeError) as caught:
        read_params(cls, params, "ping")
    assert (caught.value.kind, caught.value.message) == ("invalid_request", message)


def test_right_parameters_come_typed_with_their_defaults() -> None:
    assert read_params(KillParams, {"pid": 5}, "kill") == KillParams(5, "TERM")
    assert read_params(ModuleCallParams, {"module": "x", "inputs": {}, "options": None}, "m").options is None
