"""Requests of DSPy's engines are what DSPy itself makes of the same body."""

from typing import Any

import pytest
from dspy.lm15 import request_from_openai_chat
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.engine.lms.lm15_request import request_of

pytestmark = pytest.mark.req("NFR5.1.3")

TALK = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text()}),
    min_size=1,
    max_size=4,
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.0, 1, 1.0, 0.7]),
        "max_tokens": st.integers(1, 99),
        "seed": st.integers(0, 9),
    },
)
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}


def outcome(make: Any, body: dict[str, Any]) -> Any:
    try:
        made = make(body)
    except Exception as error:
        return type(error), str(error)
    return made, repr(made)


@given(TALK, PARAMS)
def test_every_talk_of_texts_gives_the_same_request(messages: list[dict[str, Any]], params: dict[str, Any]) -> None:
    body = {"model": "offline/any", "messages": messages, **params}
    assert outcome(request_of, body) == outcome(request_from_openai_chat, body)


@pytest.mark.parametrize(
    "more",
    [
        {"stop": ["\n", "END"]},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": FUNCTION}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a part"}]}]},
        {"messages": [{"role": "user", "content": "named", "name": "Ada"}]},
        {"messages": []},
        {"temperature": True},
    ],
)
def test_what_is_no_plain_talk_gives_the_same_request(more: dict[str, Any]) -> None:
    body = {"model": "anthropic/any", "messages": [{"role": "user", "content": "hi"}], **more}
    assert outcome(request_of, body) == outcome(request_from_openai_chat, body)
