"""Secrets are in no text and no value that is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.services.observability.redaction import REDACTED, Redactor, is_secret_name, secrets_of
from python_bridge.settings import LmSettings, Settings

KEY = "sk-proj-0123456789abcdef"


@pytest.mark.req("NFR4.2.1", "NFR2.2.4")
@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        "Authorization: Bearer abc.def-ghi",
        "api_key=very-private",
        '{"api_key": "very-private"}',
        "password: very-private",
        "postgresql://user:very-private@host/db",
        "token=very-private&x=1",
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_a_text(text: str) -> None:
    shown = Redactor().text(text)
    assert REDACTED in shown
    for secret in (KEY, "abc.def-ghi", "very-private"):
        assert secret not in shown


@pytest.mark.parametrize(
    "text", ["prompt_tokens: 12", "max_tokens=4", "see https://example.org/a:b", "the token of initialize is missing"]
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor().text(text) == text


def test_members_with_telling_names_are_taken_out_at_any_depth() -> None:
    value = {"lm": [{"api_key": "x", "model": "m"}], "headers": {"Authorization": "y"}, "max_tokens": 3, "token": None}
    assert Redactor().value(value) == {
        "lm": [{"api_key": REDACTED, "model": "m"}],
        "headers": {"Authorization": REDACTED},
        "max_tokens": 3,
        "token": None,
    }


@pytest.mark.parametrize(
    ("name", "secret"),
    [("api_key", True), ("X-API-Key", True), ("access_token", True), ("total_tokens", False), ("model", False)],
)
def test_a_name_tells_whether_its_member_is_a_secret(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_data_that_is_too_deep_is_left_out() -> None:
    value: object = KEY
    for _ in range(30):
        value = [value]
    assert KEY not in repr(Redactor().value(value))


@given(st.text(), st.text(min_size=6), st.text())
def test_a_known_secret_never_stands_in_a_text(before: str, secret: str, after: str) -> None:
    shown = Redactor([secret]).text(before + secret + after)
    # What is left may spell it anew only out of the mark itself.
    assert secret not in shown.replace(REDACTED, "\0")


def test_the_values_of_the_variables_of_keys_are_known_secrets() -> None:
    settings = Settings(
        lms={"a": LmSettings("openai/x", api_key_env="MY_KEY")}, token="the-token", store="postgresql://u:pass-word@h/d"
    )
    secrets = secrets_of(settings, {"MY_KEY": "plain-looking-key", "OTHER": "shown"})
    assert sorted(secrets) == ["pass-word", "plain-looking-key", "the-token"]
    assert Redactor(secrets).text("x plain-looking-key y shown") == f"x {REDACTED} y shown"
