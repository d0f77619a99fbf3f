"""Extras that a worker is told to need."""

import pytest

from python_bridge.errors import BridgeError
from python_bridge.worker.extras import EXTRAS, check_extras


@pytest.mark.req("FR2.1.2")
def test_extras_that_are_installed_are_no_word_worth() -> None:
    check_extras([])
    check_extras(EXTRAS)


@pytest.mark.req("FR2.1.2", "NFR2.2.2")
def test_a_name_that_is_no_extra_is_told_with_those_that_are() -> None:
    with pytest.raises(
        BridgeError, match="there is no extra 'mlfow'; the extras are arrow, grpc, http, mlflow"
    ) as raised:
        check_extras(["arrow", "mlfow"])
    assert raised.value.kind == "unavailable"
