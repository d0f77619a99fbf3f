"""Values for a JSON Schema out of the evidence."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from python_bridge.engine.offline.bm25 import terms
from python_bridge.engine.offline.evidence import Evidence, overlap

_MAX_DEPTH = 6
_NUMBER = re.compile(r"(?<![\w.,-])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)")
_NUMBER_NAMES: list[str] = re.findall(
    r"\w+",
    """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty""",
)
_SCORES = frozenset({"confidence", "score", "probability", "certainty", "likelihood", "relevance", "similarity"})
_COUNTED = frozenset(
    re.findall(r"\w+", "age count number year total amount price score size length width height weight quantity")
)
_NEGATION = re.compile(r"\b(?:not|no|never|none|nor|neither|cannot|without)\b|n['’]t\b", re.IGNORECASE)
_FORMATS: Mapping[str, tuple[str, str]] = {
    "date": (r"\b\d{4}-\d{2}-\d{2}\b", "1970-01-01"),
    "date-time": (r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?\b", "1970-01-01T00:00:00Z"),
    "time": (r"\b(?:[01]\d|2[0-3]):[0-5]\d\b", "00:00:00"),
    "duration": (r"\bP\d+[DWMY]\b", "PT0S"),
    "email": (r"\b[\w.+-]+@[\w-]+\.[\w.]+\w\b", "nobody@example.org"),
    "uri": (r"\bhttps?://\S+\b", "https://example.org/"),
    "uuid": (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "00000000-0000-0000-0000-000000000000"),
    "ipv4": (
        r"\b(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?![.]?\d)",
        "127.0.0.1",
    ),
    "any-text": (r"(?!)", ""),
}


@dataclass(frozen=True, slots=True)
class Filler:
    """Fills schemas. `definitions` are the root schema's `$defs`."""

    evidence: Evidence
    definitions: Mapping[str, Any]

    def fill(self, schema: Mapping[str, Any], name: str, depth: int = 0) -> Any:
        """Return a value that fits the schema; `name` says what it is for (``"confidence"``, ``"year_built"``)."""
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return choose(schema["enum"], self.evidence, name)
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return self.fill(self._preferred(choices, depth), name, depth)
        if schema.get("allOf"):
            return self.fill({**{k: v for k, v in schema.items() if k != "allOf"}, **schema["allOf"][0]}, name, depth)
        return self._typed(schema, _kind(schema), name, depth)

    def _typed(self, schema: Mapping[str, Any], kind: str, name: str, depth: int) -> Any:
        match kind:
            case "null":
                return None
            case "boolean":
                return truth(self.evidence)
            case "integer" | "number":
                return number(schema, self.evidence, name, whole=kind == "integer")
            case "array":
                return self._array(schema, name, depth)
            case "object":
                return self._object(schema, depth)
            case _:
                return text(schema, self.evidence, name)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            if "$ref" not in schema:
                break
            schema = self.definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
        return schema

    def _preferred(self, choices: Sequence[Mapping[str, Any]], depth: int) -> Mapping[str, Any]:
        """Take the first choice that is not null; near the depth limit the plainest one, so that recursion ends."""
        resolved = [self._resolved(choice) for choice in choices]
        if depth >= _MAX_DEPTH:
            order = ("null", "string", "number", "integer", "boolean", "array", "object")
            return min(resolved, key=lambda choice: order.index(_kind(choice)))
        return next((choice for choice in resolved if _kind(choice) != "null"), resolved[0])

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 3))
        prefix = schema.get("prefixItems", [])
        items = [self.fill(item, name, depth + 1) for item in prefix]
        item = self._resolved(schema.get("items") or {})
        if prefix and not schema.get("items"):
            return items
        if depth >= _MAX_DEPTH:
            most = least
        wanted = min(max(least, 3 if _is_text(item) else 1), most)
        if _is_text(item):
            items += [_fitted(sentence, item) for sentence in self.evidence.top(wanted)]
        elif name == "tool_calls":
            return items
        while len(items) < max(least, min(wanted, 1)):
            items.append(self.fill(item, name, depth + 1))
        return list(dict.fromkeys(items)) if schema.get("uniqueItems") and _hashable(items) else items

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties", {})
        required = schema.get("required", [])
        wanted = properties if depth < _MAX_DEPTH else {key: properties[key] for key in required if key in properties}
        values: dict[str, Any] = {}
        for key, part in wanted.items():
            words = key.replace("_", " ")
            values[key] = Filler(self.evidence.about(words), self.definitions).fill(part, key, depth + 1)
        return values


def choose(choices: Sequence[Any], evidence: Evidence, name: str) -> Any:
    """Pick one of the choices: the one whose words the best sentences and the question hold; ``finish`` among tools."""
    if name == "next_tool_name" and "finish" in choices:
        return "finish"
    context = " ".join([evidence.question, *evidence.top(3)])
    whole = " ".join(evidence.passages)

    def fitness(choice: Any) -> tuple[float, float]:
        return overlap(str(choice), context), overlap(str(choice), whole)

    return max(choices, key=fitness)


def truth(evidence: Evidence) -> bool:
    """Whether the best sentence covers most of the question and negates as often as it does."""
    if not evidence.matches or evidence.matches[0].coverage < 0.5:
        return False
    return bool(_NEGATION.search(evidence.best)) == bool(_NEGATION.search(evidence.question))


def number(schema: Mapping[str, Any], evidence: Evidence, name: str, *, whole: bool) -> int | float:
    """Return a number of the best sentences that the question doesn't hold; scores come from the ranking."""
    value: float | None = None
    if not whole and _SCORES & set(name.casefold().split("_")):
        value = evidence.confidence
    else:
        value = _number_in(evidence, name, whole)
    value = _bounded(0.0 if value is None else value, schema, whole)
    return int(value) if whole else float(value)


def _number_in(evidence: Evidence, name: str, whole: bool) -> float | None:
    asked = {value for _, value in _numbers(evidence.question)}
    words = terms(f"{evidence.question} {name.replace('_', ' ')}")
    year = "year" in words or evidence.question.casefold().startswith("when")
    for sentence in evidence.top(3):
        found = [(end, n) for end, n in _numbers(sentence) if n not in asked and not (whole and n % 1)]
        years = [n for _, n in found if 1000 <= n <= 2100]
        # "How many kilograms …": the number before the word that the question names first.
        counted = [(words.index(unit), n) for end, n in found for unit in terms(sentence[end:])[:1] if unit in words]
        if found:
            return years[0] if year and years else min(counted, default=(0, found[0][1]))[1]
    return None


def _numbers(sentence: str) -> list[tuple[int, float]]:
    """Return the numbers of a sentence, in figures or words, with the places where they end."""
    found = [(match.end(), float(match.group().replace(",", ""))) for match in _NUMBER.finditer(sentence)]
    spelt = ((match.end(), match.group()) for match in re.finditer(r"[a-z]+", sentence.casefold()))
    found += [(place, float(_NUMBER_NAMES.index(word))) for place, word in spelt if word in _NUMBER_NAMES[2:]]
    return [(end, value) for end, value in sorted(found) if abs(value) < 1e15]


def _bounded(value: float, schema: Mapping[str, Any], whole: bool) -> float:
    step = 1.0 if whole else 1e-6
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    if low is not None:
        value = max(value, low)
    if high is not None:
        value = min(value, high)
    if multiple := schema.get("multipleOf"):
        value = value // multiple * multiple
        value = value + multiple if low is not None and value < low else value
    return value


def text(schema: Mapping[str, Any], evidence: Evidence, name: str) -> str:
    """Return text: the best sentence, or what its format or pattern asks for."""
    if schema.get("format") == "any-text":
        return _any_text(evidence, name)
    if known := _FORMATS.get(schema.get("format", "")):
        found = re.finditer(known[0], " ".join([*evidence.top(3), *evidence.passages]))
        texts = (match.group().replace(" ", "T") for match in found)
        return next((value for value in texts if _exists(schema["format"], value)), known[1])
    if pattern := schema.get("pattern"):
        return _matching(pattern, evidence)
    return _fitted(_sentence_for(name, evidence), schema)


def _exists(kind: str, value: str) -> bool:
    """Whether a date is one of the calendar; other formats are known by their look."""
    if kind not in ("date", "date-time"):
        return True
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _any_text(evidence: Evidence, name: str) -> str:
    """Fill a leaf whose type is unknown: a number where its name speaks of one, since digits read as text too."""
    if set(name.split("_")) & _COUNTED:
        return f"{number({}, evidence, name, whole=True)}"
    return evidence.best or "none"


def _sentence_for(name: str, evidence: Evidence) -> str:
    if name in ("reasoning", "rationale", "thought", "next_thought", "explanation"):
        return _reasoning(evidence)
    if "summary" in name or "summaries" in name:
        best = sorted(evidence.matches[:3], key=lambda match: match.sentence.position)
        return " ".join(match.sentence.text for match in best)
    return evidence.best or f"The inputs hold no passage that answers this: {evidence.question}".strip()


def _reasoning(evidence: Evidence) -> str:
    if not evidence.matches:
        return "The inputs hold no passage to look the question up in."
    found = evidence.matches[0].sentence.terms
    words = [word for word in re.findall(r"\w+", evidence.question) if set(terms(word)) & found.keys()]
    shared = f" It shares the words {', '.join(dict.fromkeys(words))} with the question." if words else ""
    count = sum(1 for match in evidence.matches if match.score > 0)
    return f"Sentences that match the question: {count}. The best one is: {evidence.best}{shared}"


def _matching(pattern: str, evidence: Evidence) -> str:
    """Return a sentence, word or part of the evidence that the pattern finds; ``""`` when there is none."""
    candidates = [
        part for sentence in evidence.top(3) for part in (sentence, *re.findall(r"[\w.@:/-]+\w|\w", sentence))
    ]
    return next((part for part in candidates if _fits(pattern, part)), "")


@lru_cache(maxsize=32)
def _matcher(pattern: str) -> TypeAdapter[str]:
    # pydantic's own matcher takes linear time; `re` could be made to hang by a pattern of the prompt.
    return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def _fits(pattern: str, value: str) -> bool:
    try:
        _matcher(pattern).validate_python(value)
    except (ValidationError, SchemaError):
        return False
    return True


def _fitted(value: str, schema: Mapping[str, Any]) -> str:
    limit = schema.get("maxLength")
    value = value if limit is None else value[: int(limit)].rstrip()
    return value.ljust(int(schema.get("minLength", 0)), ".")


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind is None:
        kind = (
            "object"
            if "properties" in schema
            else "array"
            if "items" in schema or "prefixItems" in schema
            else "string"
        )
    return kind


def _is_text(schema: Mapping[str, Any]) -> bool:
    """Whether any text will do."""
    return _kind(schema) == "string" and not schema.keys() & {
        *("enum", "const", "pattern", "format", "anyOf", "oneOf", "allOf"),
    }


def _hashable(items: Sequence[Any]) -> bool:
    return all(isinstance(item, str | int | float | bool) for item in items)


__all__ = ["Filler", "choose", "number", "text", "truth"]
