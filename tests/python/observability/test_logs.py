"""Logs: lines of JSON, with the ids of their request, without secrets."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from python_bridge.services.observability.current import current_request
from python_bridge.services.observability.logs import configure_logging, name_worker
from python_bridge.services.observability.redaction import Redactor


@dataclass
class Asked:
    fields: dict[str, Any]

    def log_fields(self) -> dict[str, Any]:
        return self.fields


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Puts the loggers back as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.req("NFR4.2.1")
@pytest.mark.usefixtures("kept_logging")
def test_a_record_is_a_line_of_json_with_the_ids_of_its_request_and_its_worker() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    name_worker("w-1")
    token = current_request.set(Asked({"request_id": "w-1-7", "session": "s", "trace_id": "ab"}))
    logging.getLogger("python_bridge.x").info("%s came", "it", extra={"reason": "memory"})
    current_request.reset(token)
    logging.getLogger("python_bridge.x").info("later")
    first, later = lines(stream)
    told = {"event": "it came", "level": "info", "logger": "python_bridge.x", "worker_id": "w-1", "reason": "memory"}
    assert first.items() >= {**told, "request_id": "w-1-7", "session": "s", "trace_id": "ab"}.items()
    assert first["timestamp"].endswith("Z")
    assert "request_id" not in later


@pytest.mark.req("NFR4.2.1")
@pytest.mark.usefixtures("kept_logging")
@pytest.mark.parametrize(("level", "told"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_a_level_lets_the_records_above_it_through(level: str, told: int) -> None:
    stream = io.StringIO()
    configure_logging(level, stream=stream)
    logger = logging.getLogger("python_bridge.x")
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(number, "x")
    assert len(lines(stream)) == told


@pytest.mark.req("NFR4.2.1", "NFR2.2.4")
@pytest.mark.usefixtures("kept_logging")
def test_secrets_are_in_no_member_and_in_no_traceback() -> None:
    stream = io.StringIO()
    configure_logging("info", redactor=Redactor(["plain-looking-key"]), stream=stream)
    try:
        raise ValueError("it used plain-looking-key and sk-0123456789abcdef")
    except ValueError:
        logging.getLogger("x").exception("failed with plain-looking-key", extra={"api_key": "other"})
    (line,) = lines(stream)
    assert "ValueError" in line["exception"]
    assert line["api_key"] == "[redacted]"
    for secret in ("plain-looking-key", "sk-0123456789abcdef", "other"):
        assert secret not in stream.getvalue()


@pytest.mark.usefixtures("kept_logging")
def test_what_is_no_json_is_told_as_text_and_long_texts_are_cut() -> None:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    logging.getLogger("x").info("y" * 100_000, extra={"thing": object()})
    (line,) = lines(stream)
    assert line["thing"].startswith("<object")
    assert len(line["event"]) < 20_000


@pytest.mark.usefixtures("kept_logging")
def test_people_get_text() -> None:
    stream = io.StringIO()
    configure_logging("info", "console", stream=stream)
    logging.getLogger("x").info("it came")
    assert "it came" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.req("NFR4.2.1")
@pytest.mark.parametrize(("level", "told"), [("info", []), ("debug", ["connected"])])
def test_libraries_tell_of_their_steps_only_to_who_debugs(kept_logging: None, level: str, told: list[str]) -> None:
    stream = io.StringIO()
    configure_logging(level, stream=stream)
    logging.getLogger("httpcore.connection").info("connected")
    assert [line["event"] for line in lines(stream)] == told


@pytest.mark.req("NFR4.2.1")
@pytest.mark.usefixtures("kept_logging")
def test_a_handler_that_another_library_gave_is_replaced() -> None:
    past, stream = io.StringIO(), io.StringIO()
    logger = logging.getLogger("alembic")
    logger.handlers, logger.propagate = [logging.StreamHandler(past)], False
    configure_logging("info", stream=stream)
    logger.warning("plain text")
    assert [line["event"] for line in lines(stream)] == ["plain text"]
    assert past.getvalue() == ""
