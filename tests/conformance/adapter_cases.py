"""The format cases of `tests/vectors/corpora/adapters.json`: prompts byte by byte."""

import datetime
import decimal
import json
import uuid
from functools import cache
from typing import Any

import dspy
from corpus_types import load_types

from python_bridge.engine.adapters import adapter
from python_bridge.engine.signatures.parser import parse_type
from python_bridge.engine.signatures.resolve import Resolver

_ADAPTERS = {"ChatAdapter": "chat", "JSONAdapter": "json", "XMLAdapter": "xml"}


@cache
def _types(key: str) -> dict[str, type]:
    return load_types(json.loads(key))


class Corpus:
    """One corpus file: its types, and its signatures, built once."""

    def __init__(self, corpus: dict[str, Any]) -> None:
        self.types = _types(json.dumps(corpus["types"]))
        self._described = corpus["meta"]["signatures"]
        self._built: dict[str, Any] = {}

    def signature(self, name: str) -> Any:
        """Return the signature class of that name."""
        if name not in self._built:
            self._built[name] = self._build(self._described[name])
        return self._built[name]

    def _build(self, described: dict[str, Any]) -> Any:
        fields = {item["name"]: (self._annotation(item["type_expr"]), _field(item)) for item in described["fields"]}
        return dspy.Signature(fields, described["instructions"])

    def _annotation(self, text: str) -> Any:
        return Resolver(text, self.types).annotation(parse_type(text))

    def value(self, tagged: Any) -> Any:
        """Return the Python value of tagged JSON."""
        if isinstance(tagged, list):
            return [self.value(item) for item in tagged]
        if not isinstance(tagged, dict):
            return tagged
        if "$type" not in tagged:
            return {key: self.value(item) for key, item in tagged.items()}
        return self._tagged(tagged["$type"], tagged)

    def _tagged(self, kind: str, item: dict[str, Any]) -> Any:
        scalars = {
            "datetime": datetime.datetime.fromisoformat,
            "date": datetime.date.fromisoformat,
            "decimal": decimal.Decimal,
            "uuid": uuid.UUID,
            "bytes": lambda value: value.encode(),
            "float": float,
        }
        if kind in scalars:
            return scalars[kind](item["value"])
        made = {
            "enum": lambda: self.types[item["name"]][item["member"]],  # type: ignore[index]
            "model": lambda: self.types[item["name"]](**self.value(item["value"])),
            "tuple": lambda: tuple(self.value(item["value"])),
            "set": lambda: set(self.value(item["value"])),
            "history": lambda: dspy.History(messages=self.value(item["messages"])),
            "image": lambda: dspy.Image(item["url"]),
            "code": lambda: dspy.Code(code=item["value"]),
            "tool": lambda: dspy.Tool(lambda **_: None, name=item["name"], desc=item["desc"], args=item["args"]),
            "tool_calls": lambda: dspy.ToolCalls.from_dict_list(item["value"]),
        }
        return made[kind]()


def _field(item: dict[str, Any]) -> Any:
    make = dspy.InputField if item["role"] == "input" else dspy.OutputField
    options = {"default": item["default"]} if "default" in item else {}
    info = make(desc=item["desc"], **options)
    info.json_schema_extra["prefix"] = item["prefix"]
    if item.get("constraints"):
        info.json_schema_extra["constraints"] = item["constraints"]
    return info


def check_format(case: dict[str, Any], corpus: Corpus) -> str | None:
    """Return what is wrong with one case, or ``None``: the prompt is made twice, the second time from the caches."""
    signature = corpus.signature(case["signature"])
    chosen = adapter(_ADAPTERS[case["adapter"]])
    demos, inputs = corpus.value(case["demos"]), corpus.value(case["inputs"])
    for _ in range(2):
        messages = chosen.format(signature, demos, inputs)
        if messages != case["expected"]["messages"]:
            return f"{messages!r}, expected {case['expected']['messages']!r}"
    return None
