"""Which transports each test of the interaction runs on, and the client that it gets."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from interaction import Connect
from links import LINKS, Link

SMOKE = {
    "test_hundreds_of_calls_are_in_flight_and_answered_each_with_its_own",
    "test_a_stream_gives_its_events_in_order_and_then_the_result",
    "test_a_cancel_stops_the_work_and_what_is_unknown_is_ignored",
    "test_a_deadline_stops_the_work_with_timeout",
    "test_tools_of_the_client_are_called_and_their_errors_come_back",
    "test_values_come_back_as_they_went_in_both_encodings",
    "test_a_large_value_passes_and_one_above_the_cap_is_refused",
    "test_garbage_is_reported_and_ends_the_connection",
    "test_shutdown_waits_for_what_is_in_flight_and_refuses_new_work",
}
"""What runs on every transport; the rest runs where a difference could show."""
IN_FULL = ("memory", "stdio", "fork")


NOT_FORKED = {"test_an_engine_that_cannot_be_loaded_is_told_and_ends_with_78"}
"""A fork server tells of that itself, before it has a child."""


NOT_FRAMED = {"test_garbage_is_reported_and_ends_the_connection"}
"""What has no length before it has no frame to be wrong."""
NOT_ON = {"fork": NOT_FORKED, "grpc": NOT_FRAMED}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that connects the transports that it runs on."""
    if "connect" not in metafunc.fixturenames:
        return
    name = metafunc.function.__name__
    links = sorted(LINKS) if name in SMOKE else IN_FULL
    metafunc.parametrize("connect", [link for link in links if name not in NOT_ON.get(link, ())], indirect=True)


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Connect:
    """Return a context manager that gives a client of a new worker: ``connect(tools=…, max_queue=…)``."""

    def link(tools: dict[str, Any] | None = None, **settings: Any) -> AbstractAsyncContextManager[Link]:
        return LINKS[request.param]({"tools": tools}, settings)

    return link
