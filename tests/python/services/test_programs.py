"""The cache of programs."""

from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.services.programs import ProgramCache
from python_bridge.testing.engine import ScriptedEngine

pytestmark = pytest.mark.req("FR1.1.1", "FR3.1.2")


def program(number: int) -> dict[str, Any]:
    return {"kind": "scripted", "number": number}


def test_a_program_is_compiled_once_when_it_is_first_used() -> None:
    engine = ScriptedEngine()
    cache = ProgramCache(engine, 4)
    module = cache.put(program(1))
    assert engine.compiled == 0
    assert cache.compiled(module) is cache.compiled(module)
    assert cache.put(program(1)) == module
    cache.compiled(module)
    assert engine.compiled == 1


def test_the_least_recently_used_program_goes_first() -> None:
    cache = ProgramCache(ScriptedEngine(), 2)
    one, two = cache.put(program(1)), cache.put(program(2))
    cache.compiled(one)
    three = cache.put(program(3))
    assert len(cache) == 2
    cache.compiled(one)
    cache.compiled(three)
    with pytest.raises(BridgeError) as caught:
        cache.compiled(two)
    assert (caught.value.kind, caught.value.need) == ("not_found", "program")


def test_a_program_with_errors_is_not_kept_by_create() -> None:
    cache = ProgramCache(ScriptedEngine(), 2)
    with pytest.raises(BridgeError, match="broken"):
        cache.create({"kind": "broken"})
    assert len(cache) == 0


def test_a_dropped_program_is_gone() -> None:
    cache = ProgramCache(ScriptedEngine(), 2)
    module = cache.create(program(1))
    assert cache.drop(module)
    assert not cache.drop(module)
