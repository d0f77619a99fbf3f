"""What the inputs say about the question: the question itself, the passages, the ranked sentences."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from python_bridge.engine.offline.bm25 import Match, index_of, split_sentences, terms
from python_bridge.engine.offline.prompt import Prompt

_QUESTION_FIELDS = ("question", "query", "q", "claim", "request", "topic", "instruction", "task", "prompt")
_NUMBER_WORD = r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twenty|thirty|hundred|thousand"
_HINTS = (
    (
        re.compile(r"\b(?:when|what (?:year|date|month|day)|which (?:year|month|day)|in what year)\b", re.IGNORECASE),
        re.compile(
            r"\b(?:1\d{3}|20\d{2}|\d{1,2}:\d{2}|January|February|March|April|May|June|July|August|September|October|November|December|\w+days?)\b"
        ),
    ),
    (
        re.compile(
            r"\bhow (?:many|much|long|often|far|high|tall|deep|wide|old|heavy|fast|hot|big|large)\b", re.IGNORECASE
        ),
        re.compile(rf"\d|\b(?:{_NUMBER_WORD})\b", re.IGNORECASE),
    ),
    (
        re.compile(r"\bwho(?:se|m)?\b", re.IGNORECASE),
        re.compile(r"(?<=\w )[A-Z][a-z]+ (?:[A-Z][\w.]* )?[A-Z][a-z]+|\b(?:Mrs?|Ms|Dr|Capt)\. "),
    ),
)
_BOOST = 1.35
_OBSERVATION = re.compile(
    r"^\[\[ ## observation_\d+ ## \]\]\n(.*?)(?=^\[\[ ## |\Z)|^<(observation_\d+)>\n(.*?)\n</\2>",
    re.MULTILINE | re.DOTALL,
)
_LISTED = re.compile(r"^\[\d+\] ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The question, and the sentences of the other inputs that fit it, best first."""

    question: str
    passages: tuple[str, ...]
    matches: tuple[Match, ...]

    @property
    def best(self) -> str:
        """The sentence that fits best, or ``""``."""
        return self.matches[0].sentence.text if self.matches else ""

    @property
    def confidence(self) -> float:
        """Share of the question's weight that the best sentence carries, at most 0.95; 0 when nothing matched."""
        return round(min(self.matches[0].coverage, 0.95), 2) if self.matches else 0.0

    def about(self, words: str) -> "Evidence":
        """Return the evidence with the sentences ranked for the question and more words."""
        query = f"{self.question} {words}"
        return replace(self, matches=_ranked(self.passages, query))

    def top(self, limit: int, share: float = 0.5) -> list[str]:
        """Return at most `limit` sentences whose score is at least `share` of the best one's, best first."""
        if not self.matches:
            return []
        least = self.matches[0].score * share
        return list(dict.fromkeys(match.sentence.text for match in self.matches[:limit] if match.score >= least))


def gather(prompt: Prompt) -> Evidence:
    """Find the question and the passages among a prompt's inputs."""
    name = question_field(prompt.inputs)
    question = prompt.inputs.get(name, "")
    passages = [text for key, value in prompt.inputs.items() if key != name for text in _texts(key, value)]
    if not passages:
        question, passages = _split_question(question)
    if not passages:
        passages = [value for turn in prompt.turns for value in (*turn.inputs.values(), *turn.outputs.values())]
    query = question or prompt.objective
    return Evidence(query, tuple(passages), _ranked(tuple(passages), query))


def question_field(inputs: Mapping[str, str]) -> str:
    """Return the input that asks: by its name, else the shortest that ends with a question mark, else the shortest."""
    for name in _QUESTION_FIELDS:
        if name in inputs:
            return name
    asking = [name for name, value in inputs.items() if value.rstrip().endswith("?")]
    return min(asking or inputs, key=lambda name: len(inputs[name]), default="")


def _texts(name: str, value: str) -> list[str]:
    """Return an input's texts; of an agent's trajectory, what its tools answered."""
    if name != "trajectory":
        return passages_of(value)
    observations = (match[1] or match[3] or "" for match in _OBSERVATION.finditer(value))
    return [text for seen in observations if seen.strip() != "Completed." for text in passages_of(seen.strip())]


def passages_of(value: str) -> list[str]:
    """Return the texts that an input's value holds: JSON lists and maps, DSPy's numbered lists, or the text itself."""
    if value[:1] in "[{" and (data := _json(value)) is not None:
        return [text for text in _flatten(data) if text.strip()]
    if _LISTED.match(value):
        return [part.strip().strip("«»").strip() for part in _LISTED.split(value) if part.strip()]
    return [value] if value.strip() else []


def _flatten(data: Any, key: str = "") -> list[str]:
    if isinstance(data, dict):
        return [text for name, value in data.items() for text in _flatten(value, str(name))]
    if isinstance(data, list):
        return [text for value in data for text in _flatten(value, key)]
    text = data if isinstance(data, str) else json.dumps(data)
    return [f"{key}: {text}" if key and len(text) < 80 else text]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _split_question(text: str) -> tuple[str, list[str]]:
    """Take the questions out of a text that is all the input there is; a text without one is the passage."""
    sentences = [sentence for sentence, _ in split_sentences(text)]
    asked = [sentence for sentence in sentences if sentence.endswith("?")]
    rest = [sentence for sentence in sentences if sentence not in asked]
    if asked:
        return " ".join(asked), ["\n\n".join(rest)] if rest else []
    return (text, []) if len(sentences) < 2 else ("", [text])


def _ranked(passages: tuple[str, ...], query: str) -> tuple[Match, ...]:
    """Rank by BM25; sentences that hold the kind of thing asked for (a date, a number, a name) move up."""
    matches: Sequence[Match] = index_of(passages).rank(query)
    for asks, holds in _HINTS:
        if asks.search(query):
            matches = [replace(m, score=m.score * _BOOST) if holds.search(m.sentence.text) else m for m in matches]
            break
    found = sorted(matches, key=lambda match: (-match.score, match.sentence.position))
    return tuple(found) or _lead(passages)


def _lead(passages: tuple[str, ...]) -> tuple[Match, ...]:
    """Return the first sentences, with no score: nothing matched, or nothing was asked."""
    return tuple(Match(sentence, 0.0, 0.0) for sentence in index_of(passages).sentences[:3])


def overlap(text: str, other: str) -> float:
    """Return the share of the words of `text` that `other` holds."""
    words = set(terms(text))
    return len(words & set(terms(other))) / len(words) if words else 0.0


__all__ = ["Evidence", "gather", "overlap", "passages_of", "question_field"]
