"""LMs with parameters of a call: made once, bounded, and never those of another call."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest

from python_bridge.engine.lms.lean import LeanLM
from python_bridge.engine.lms.registry import lean
from python_bridge.engine.lms.variants import MAX_VARIANTS, with_params
from python_bridge.testing.scripted import ScriptedLM


@pytest.fixture
def lm() -> LeanLM:
    return lean(ScriptedLM(default={"a": "x"}).lm)


def test_the_same_parameters_give_the_same_lm_and_others_another_one(lm: LeanLM) -> None:
    warm = with_params(lm, {"temperature": 0.5})
    assert with_params(lm, {}) is lm
    assert with_params(lm, {"temperature": 0.5}) is warm
    assert with_params(lm, {"temperature": 1}) is not with_params(lm, {"temperature": 1.0})
    assert (warm.kwargs["temperature"], lm.kwargs.get("temperature")) == (0.5, None)


def test_a_changed_lm_has_new_variants(lm: LeanLM) -> None:
    before = with_params(lm, {"temperature": 0.5})
    lm.kwargs["max_tokens"] = 7
    after = with_params(lm, {"temperature": 0.5})
    assert after is not before
    assert after.kwargs["max_tokens"] == 7


def test_an_lm_of_the_callers_is_copied_for_each_call() -> None:
    class Own(dspy.BaseLM):
        pass

    own = Own("own/lm")
    assert with_params(own, {"temperature": 0.5}) is not with_params(own, {"temperature": 0.5})


def test_variants_are_bounded(lm: LeanLM) -> None:
    made = [weakref.ref(with_params(lm, {"seed": seed})) for seed in range(3 * MAX_VARIANTS)]
    gc.collect()
    assert sum(variant() is not None for variant in made) <= MAX_VARIANTS


def test_many_threads_may_ask_at_once(lm: LeanLM) -> None:
    def ask(number: int) -> bool:
        return with_params(lm, {"seed": number % 100}).kwargs["seed"] == number % 100

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(2000)))
