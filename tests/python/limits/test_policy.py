"""Limits of a worker, and its life, as pure values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.services.lifecycle import Lifecycle, Phase
from python_bridge.services.limits.monitor import give_back_memory
from python_bridge.services.limits.policy import RecyclePolicy, Sample
from python_bridge.settings import Settings, SettingsError, apply_settings
from python_bridge.worker.resources import apply_resources, declared_features, read_processors

FINE = Sample(rss_bytes=100, calls=10, age_ms=1000, abandoned=1)


@pytest.mark.req("NFR3.2.1", "NFR3.2.4", "FR2.1.3")
@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (RecyclePolicy(), None),
        (RecyclePolicy(memory_soft_bytes=101, calls=11, age_ms=1001, abandoned=2), None),
        (RecyclePolicy(memory_soft_bytes=100), "memory"),
        (RecyclePolicy(calls=10), "calls"),
        (RecyclePolicy(age_ms=1000), "age"),
        (RecyclePolicy(abandoned=1), "abandoned"),
        (RecyclePolicy(memory_soft_bytes=1, calls=1), "memory"),
    ],
)
def test_a_worker_that_reaches_a_limit_is_to_be_replaced_for_that_reason(
    policy: RecyclePolicy, reason: str | None
) -> None:
    verdict = policy.judge(FINE)
    assert (verdict and verdict.reason) == reason


@pytest.mark.req("NFR3.2.1")
def test_a_hard_limit_of_memory_lies_above_the_soft_one() -> None:
    assert RecyclePolicy(memory_hard_bytes=100).far_over_memory(100)
    assert not RecyclePolicy(memory_hard_bytes=101).far_over_memory(100)
    assert not RecyclePolicy().far_over_memory(1 << 40)
    with pytest.raises(SettingsError, match="above memory_soft_bytes"):
        apply_settings(Settings(), {"memory_soft_bytes": 2, "memory_hard_bytes": 2}, "here")


def test_the_reason_names_the_setting() -> None:
    verdict = RecyclePolicy(memory_soft_bytes=1 << 20).judge(Sample(3 << 20, 0, 0, 0))
    assert verdict is not None
    assert verdict.text == "memory is above its soft limit: 3 MiB of 1 MiB (memory_soft_bytes)"


def test_workers_that_start_together_do_not_all_end_together() -> None:
    ages = {RecyclePolicy.of(Settings(recycle_age_ms=100_000)).age_ms for _ in range(20)}
    assert len(ages) > 1
    assert all(90_000 <= age <= 110_000 for age in ages)


def test_the_memory_that_is_left_is_told() -> None:
    assert give_back_memory() > 1_000_000


@given(st.lists(st.sampled_from(Phase)))
def test_a_life_goes_forwards_only_and_keeps_the_first_reason(phases: list[Phase]) -> None:
    order = list(Phase)
    life = Lifecycle()
    for number, phase in enumerate(phases):
        before = life.phase
        assert life.advance(phase, str(number)) is (order.index(phase) > order.index(before))
        assert order.index(life.phase) >= order.index(before)
        assert life.ending is (life.phase in (Phase.DRAINING, Phase.STOPPED))
    moves = [n for n in range(len(phases)) if phases[n] is not Phase.BOOT]
    assert life.reason == (str(moves[0]) if moves else None)


@pytest.mark.req("NFR3.2.2")
def test_processors_are_numbers_and_ranges() -> None:
    assert read_processors("0-2, 5") == {0, 1, 2, 5}


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "2-1", "0-99999999", "1;2"])
def test_other_words_for_processors_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="cpus"):
        read_processors(text)


def test_processors_that_are_not_there_are_refused() -> None:
    with pytest.raises(SettingsError, match="names processors that this process has not"):
        apply_resources(Settings(cpus="4095"))


@pytest.mark.req("NFR3.2.3")
@pytest.mark.parametrize(
    ("gpu", "visible", "features"),
    [("0,2", "0,2", ["gpu", "gpu:0", "gpu:2"]), ("none", "", []), ("MIG-1a", "MIG-1a", ["gpu", "gpu:MIG-1a"])],
)
def test_a_worker_sees_its_devices_and_declares_them(gpu: str, visible: str, features: list[str]) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "7"}
    settings = Settings(gpu=gpu, capabilities=("large",))
    apply_resources(settings, environ)
    assert environ == {"CUDA_VISIBLE_DEVICES": visible, "HIP_VISIBLE_DEVICES": visible}
    assert declared_features(settings) == [*features, "capability:large"]


def test_without_the_setting_the_environment_stays() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "7"}
    apply_resources(Settings(), environ)
    assert environ == {"CUDA_VISIBLE_DEVICES": "7"}
    assert declared_features(Settings()) == []
