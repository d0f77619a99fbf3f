"""What LMs and programs raise becomes one of the closed set of errors."""

import enum
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.failures import clean, to_bridge_error
from python_bridge.engine.lms.registry import lean
from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings
from python_bridge.testing.scripted import ScriptedLM

Make = Callable[..., DSPyEngine]


async def failure(engine: DSPyEngine, call: Any, signature: str = "q -> answer: int", **given: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await call(engine, signature, {"q": "?"}, **given)
    return caught.value


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("raised", "status", "retryable", "retry_after"),
    [
        (lm15.AuthError("bad key", provider="openai", status=401), 401, False, None),
        (lm15.RateLimitError("slow down", provider="openai", status=429, retry_after=7.0), 429, True, 7.0),
        (lm15.ServerError("broken", provider="openai", status=503), 503, True, None),
        (lm15.ContextLengthError("too long", provider="openai", status=400), 400, False, None),
    ],
)
async def test_errors_of_the_lm_keep_provider_status_and_retry_after(
    make_engine: Make, call: Any, raised: Any, status: int, retryable: bool, retry_after: float | None
) -> None:
    error = await failure(make_engine(ScriptedLM([raised]).lm), call)
    assert (error.kind, error.retryable, error.retry_after) == ("lm_error", retryable, retry_after)
    assert error.details["provider"] == "openai"
    assert error.details["status"] == status
    assert str(status) in error.message


@pytest.mark.anyio
async def test_an_answer_in_the_wrong_form_is_an_lm_error_that_says_so(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM(["no such form", "nor this"])
    error = await failure(make_engine(scripted.lm), call)
    assert (error.kind, error.details["code"]) == ("lm_error", "adapter_parse_error")
    assert "`answer`" in error.message
    assert "'nor this'" in error.message
    assert scripted.left == 0


@pytest.mark.anyio
async def test_a_wrong_answer_is_asked_for_again_as_json_once(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM(["no such form", '{"answer": 3}'])
    assert (await call(make_engine(scripted.lm), "q -> answer: int", {"q": "?"})).outputs == {"answer": 3}


@pytest.mark.anyio
@pytest.mark.req("FR1.3.4")
async def test_an_error_that_may_pass_is_tried_again_as_often_as_the_settings_say(make_engine: Make, call: Any) -> None:
    passing = lm15.RateLimitError("slow down", provider="x", status=429, retry_after=0.0)
    scripted = ScriptedLM([passing, passing, {"answer": 3}])
    patient = lean(scripted.lm, LmSettings(model="scripted/lm", retries=2))
    assert (await call(make_engine(patient), "q -> answer: int", {"q": "?"})).outputs == {"answer": 3}
    hasty = ScriptedLM([passing, passing, {"answer": 3}])
    error = await failure(make_engine(lean(hasty.lm, LmSettings(model="scripted/lm", retries=1))), call)
    assert (error.details["status"], hasty.left) == (429, 1)


@pytest.mark.anyio
async def test_an_error_that_stays_is_not_tried_again(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([lm15.AuthError("bad key", provider="x", status=401), {"answer": 3}])
    await failure(make_engine(lean(scripted.lm, LmSettings(model="scripted/lm", retries=5))), call)
    assert scripted.left == 1


@pytest.mark.anyio
async def test_an_lm_that_does_not_answer_in_time_is_a_retryable_lm_error(make_engine: Make, call: Any) -> None:
    from python_bridge.testing.gate import Gate
    from python_bridge.testing.scripted import Answer

    scripted = ScriptedLM([Answer(fields={"answer": 3}, gate=Gate())])
    slow = lean(scripted.lm, LmSettings(model="scripted/lm", retries=0, timeout=0.05))
    error = await failure(make_engine(slow), call)
    assert (error.kind, error.retryable, error.details["code"]) == ("lm_error", True, "timeout")


def test_keys_are_blotted_out_and_long_texts_cut() -> None:
    assert clean("key sk-abcdef123456 was refused, Authorization: Bearer abcdefgh") == (
        "key [hidden] was refused, Authorization: [hidden]"
    )
    assert len(clean("x" * 10_000)) < 700


def test_a_bridge_error_passes_through_even_as_a_cause() -> None:
    inner = BridgeError("tool_error", "no")
    assert to_bridge_error(inner) is inner
    outer = RuntimeError("outer")
    outer.__cause__ = inner
    assert to_bridge_error(outer) is inner


def test_anything_else_that_a_program_raises_is_a_program_error() -> None:
    error = to_bridge_error(ZeroDivisionError("division by zero"))
    assert (error.kind, error.details) == ("program_error", {"exception": "ZeroDivisionError"})
    assert to_bridge_error(TimeoutError()).kind == "lm_error"
    assert dspy.LMError is not None


def test_control_characters_of_the_provider_are_shown_and_not_sent_to_the_terminal() -> None:
    assert clean("a\x1b]0;title\x07 b\u202ec\n\td é") == "a␛]0;title␇ b�c\n\td é"


UNREADABLE = [
    ("json", "q -> c: Literal['a'], n: list[int]", '{"c": "a", "n": [' + "[" * 5000),
    ("chat", "q -> n: Any", "[[ ## n ## ]]\n" + "[" * 20_000),
    ("xml", "q -> n: Any", "<n>" + "<x>" * 5000 + "</x>" * 5000 + "</n>"),
    ("json", "q -> c: Colour", '{"c": ["red"]}'),
    ("xml", "q -> c: Colour", "<c>red</c><c>red</c>"),
    ("chat", "q -> n: Iterable[int]", "[[ ## n ## ]]\n[1, 'x']"),
]


@pytest.mark.anyio
@pytest.mark.req("FR1.2.4")
@pytest.mark.parametrize(("adapter", "signature", "text"), UNREADABLE, ids=[f"{row[0]} {row[1]}" for row in UNREADABLE])
async def test_whatever_an_answer_makes_a_parser_raise_it_is_an_answer_that_cannot_be_read(
    make_engine: Make, call: Any, adapter: str, signature: str, text: str
) -> None:
    engine = make_engine(ScriptedLM([text, text]).lm, types={"Colour": enum.Enum("Colour", {"RED": "red"})})
    error = await failure(engine, call, signature, adapter=adapter)
    assert (error.kind, error.details["code"]) == ("lm_error", "adapter_parse_error")
    assert error.details["adapter"] == "JSONAdapter"


@pytest.mark.anyio
@pytest.mark.req("FR1.2.4")
async def test_halves_of_characters_that_broken_json_escapes_are_text_that_can_be_sent(
    make_engine: Make, call: Any
) -> None:
    lm = ScriptedLM(["{'t': {'a': \"\\ud83c\\udf89\", \"\\ud83c\": ['\\udf89 x']}}"]).lm
    outputs = (await call(make_engine(lm), "q -> t: dict[str, Any]", {"q": "?"}, adapter="json")).outputs
    assert outputs == {"t": {"a": "🎉", "\ufffd": ["\ufffd x"]}}


@pytest.mark.anyio
async def test_deques_and_items_that_nobody_has_looked_at_are_lists(make_engine: Make, call: Any) -> None:
    lm = ScriptedLM(["[[ ## d ## ]]\n[1, 2]\n\n[[ ## i ## ]]\n[[3], [4]]"]).lm
    outputs = (await call(make_engine(lm), "q -> d: Deque[int], i: list[Iterable[int]]", {"q": "?"})).outputs
    assert outputs == {"d": [1, 2], "i": [[3], [4]]}
