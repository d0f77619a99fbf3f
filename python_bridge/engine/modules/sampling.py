"""Kinds that ask several times and choose: `best_of_n`, `refine`, `multi_chain_comparison`."""

from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind, check_names
from python_bridge.engine.modules.composite import AsyncModule, Child, signature_of
from python_bridge.engine.modules.options import number, read_options, text, whole
from python_bridge.engine.modules.reward import Reward
from python_bridge.errors import BridgeError

_OPTIONS = {
    "N": whole(3, 1, 1000),
    "threshold": number(1.0),
    "fail_count": whole(None, 0, 1000),
    "reward": text(None),
}
_COMPARISON_OPTIONS = {"M": whole(3, 1, 100)}


class BestOfN(AsyncModule):
    """`dspy.BestOfN` on the loop: up to `n` attempts at temperature 1, the best one, or the first that is good enough.

    Unlike DSPy's, it counts failures anew in every call.
    """

    def __init__(self, child: Child, reward: Reward, n: int, threshold: float, fail_count: int | None) -> None:
        super().__init__()
        self.module = child.built.make()
        self._run_child = child.run
        self._reward = reward
        self._n = n
        self._threshold = threshold
        self._fail_count = n if fail_count is None else fail_count

    async def aforward(self, **kwargs: Any) -> Any:
        """Return the best prediction.

        Raises:
            Exception: that of the attempt after which too many have failed.
        """
        lm: Any = self.module.get_lm() or dspy.settings.lm
        start = lm.kwargs.get("rollout_id") or 0
        best, best_reward, failures = None, float("-inf"), 0
        for attempt in range(self._n):
            module = self.module.deepcopy()
            module.set_lm(lm.copy(rollout_id=start + attempt, temperature=1.0))
            try:
                with dspy.context(send_stream=None):  # what is thrown away later must not go out as tokens
                    prediction = await self._run_child(module, kwargs)
                reward = await self._reward.ask(kwargs, prediction)
            except Exception:
                failures += 1
                if failures > self._fail_count or failures == self._n:
                    raise
                continue
            if reward > best_reward:
                best, best_reward = prediction, reward
            if reward >= self._threshold:
                break
        return best


def build_best_of_n(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`children.program`, tried `N` times; `reward` names the client's tool that rates a prediction."""
    options, params, child, reward = _parts(program, builder)
    make = lambda: BestOfN(child, reward, options["N"], options["threshold"], options["fail_count"])  # noqa: E731
    return BuiltModule(child.built.signature, make, True, params, options, list(program.get("tools", [])))


def build_refine(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.Refine` over `children.program`: as `best_of_n`, with the LM's advice between the attempts."""
    options, params, child, reward = _parts(program, builder)

    def make() -> dspy.Module:
        return dspy.Refine(
            child.built.make(), options["N"], reward, options["threshold"], fail_count=options["fail_count"]
        )

    tools = list(program.get("tools", []))
    return BuiltModule(child.built.signature, make, False, params, options, tools, trace=True, streams=False)


def _parts(program: Mapping[str, Any], builder: Builder) -> tuple[dict[str, Any], dict[str, Any], Child, Reward]:
    options, params = read_options(program.get("config", {}), _OPTIONS, "config")
    tools = {tool.name: tool for tool in builder.tools(program)}
    if options["reward"] not in tools:
        raise BridgeError(
            "invalid_request",
            f"the kind {program['kind']!r} needs `config.reward`: the name of one of its `tools`, which takes `inputs` "
            "and `outputs` and gives a number",
        )
    return options, params, builder.child(program, "program"), Reward(tools[options["reward"]])


class Comparison(AsyncModule):
    """`dspy.MultiChainComparison` on the loop; with a child, it makes the attempts to compare itself."""

    def __init__(self, compare: dspy.MultiChainComparison, child: Child | None) -> None:
        super().__init__()
        self.compare = compare
        self.program = child.built.make() if child else None
        self._run_child = child.run if child else None

    async def aforward(self, completions: Any = None, **kwargs: Any) -> Any:
        """Compare attempts and answer."""
        if self._run_child is not None:
            completions = await self._attempts(kwargs)
        elif len(completions) != self.compare.M:
            raise BridgeError("invalid_input", f"`completions` must have {self.compare.M} items (config.M)")
        names = {"reasoning", "rationale"}
        wrong = [index for index, item in enumerate(completions) if not names & set(item)]
        wrong += [index for index, item in enumerate(completions) if self.compare.last_key not in item]
        if wrong:
            need = f"`reasoning` and `{self.compare.last_key}`"
            raise BridgeError("invalid_input", f"`completions.{wrong[0]}` must have {need}")
        attempts = [_attempt(item, self.compare.last_key) for item in completions]
        extra = {f"reasoning_attempt_{index + 1}": attempt for index, attempt in enumerate(attempts)}
        return await self.compare.predict.acall(**extra, **kwargs)

    async def _attempts(self, kwargs: dict[str, Any]) -> list[dict[str, Any]]:
        lm = dspy.settings.lm
        found: list[dict[str, Any]] = []
        for index in range(self.compare.M):
            module = self.program.deepcopy()  # type: ignore[union-attr]
            module.set_lm(lm.copy(rollout_id=index, temperature=1.0))
            with dspy.context(send_stream=None):
                found.append(dict((await self._run_child(module, kwargs)).items()))  # type: ignore[misc]
        return found


def _attempt(item: Mapping[str, Any], last: str) -> str:
    """Word one attempt as DSPy does."""
    rationale = str(item.get("rationale", item.get("reasoning"))).strip().split("\n")[0].strip()
    answer = str(item[last]).strip().split("\n")[0].strip()
    return f"«I'm trying to {rationale} I'm not sure but my prediction is {answer}»"


def build_comparison(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.MultiChainComparison`; the attempts come from `children.program`, or as the input `completions`."""
    options, params = read_options(program.get("config", {}), _COMPARISON_OPTIONS, "config")
    signature = builder.signature(program)
    check_names(signature, frozenset({"completions"}))
    child = builder.child(program, "program") if "program" in (program.get("children") or {}) else None
    compare = dspy.MultiChainComparison(signature, M=options["M"])
    inputs = {name: (info.annotation, "") for name, info in signature.input_fields.items()}
    if child is None:
        inputs["completions"] = (list[dict[str, Any]], "attempts with `reasoning` and the last output")
    outputs = {"rationale": (str, "")}
    outputs |= {name: (info.annotation, "") for name, info in signature.output_fields.items()}
    whole_signature = signature_of(inputs, outputs, signature.instructions)
    return BuiltModule(whole_signature, lambda: Comparison(compare, child), True, params, options)


_MEMBERS = frozenset({"children", "tools"})
BEST_OF_N = Kind(build_best_of_n, _OPTIONS, _MEMBERS)
REFINE = Kind(build_refine, _OPTIONS, _MEMBERS)
MULTI_CHAIN_COMPARISON = Kind(build_comparison, _COMPARISON_OPTIONS, frozenset({"signature", "children"}))

__all__ = ["BEST_OF_N", "MULTI_CHAIN_COMPARISON", "REFINE", "BestOfN", "Comparison"]
