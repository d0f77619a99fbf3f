"""Okapi BM25 over the sentences of a text.

The score is that of S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009),
equation 3.15, with k1 = 1.2 and b = 0.75; the inverse document frequency is `ln(1 + (N - n + 0.5) / (n + 0.5))`,
the form that Lucene uses because it stays positive.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

K1 = 1.2
B = 0.75
HEADING = 0.4
"""Share of a word's weight that counts when only the heading above a sentence holds it."""

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_STOP = frozenset(
    _WORD.findall(
        """a about an and any are as at be been being but by can could did do does for from had has have he her his
        how i if in into is it its long may me much many must no nor of on one or our please shall she should so some
        tell than that the their them then there these they this those to was we were what when where which who whom
        whose why will with would you your"""
    )
)
_IRREGULAR = dict(
    pair.split("-")
    for pair in re.findall(
        r"\S+",
        """built-build began-begin bought-buy came-come fell-fall found-find gave-give got-get held-hold kept-keep
        led-lead left-leave lost-lose made-make met-meet paid-pay ran-run saw-see seen-see sold-sell taught-teach
        took-take went-go won-win wrote-write written-write""",
    )
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Mt|Capt|Col|Gen|Lt|Rev|Sr|Jr|No|Nos|vol|ch|pp?|fig|approx|ca|cf|vs|etc|e\.g|i\.e)|\b[A-Z])\.$"
)
_BOUNDARY = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9ÄÖÜÉ])")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)]|#|\|)\s)|(?<=\n)(?=#)")
_HEADING = re.compile(r"^#{1,6}\s+(.*)$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, its place in the text, its words and those of the heading it stands under."""

    text: str
    position: int
    terms: Counter[str]
    heading: frozenset[str]


@dataclass(frozen=True, slots=True)
class Match:
    """A sentence that matched; `coverage` (0…1) is the share of the query's weight that its words carry."""

    sentence: Sentence
    score: float
    coverage: float


def terms(text: str) -> list[str]:
    """Return the words of a text: case folded, stop words dropped, common endings cut."""
    words = (word.group().casefold() for word in _WORD.finditer(text))
    return [stem(word) for word in words if word not in _STOP]


def stem(word: str) -> str:
    """Cut the endings that change most between a question and its answer (a light form of Porter's step 1).

    >>> [stem(word) for word in ("keepers", "families", "installed", "sounding", "glass", "2019")]
    ['keeper', 'family', 'install', 'sound', 'glass', '2019']
    """
    word = _IRREGULAR.get(word) or re.sub(r"['’]s$", "", word)
    if len(word) <= 3 or word[0].isdigit():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        base = word.removesuffix(ending)
        if base != word and len(base) >= 3 and re.search(r"[aeiouy]", base):
            word = base[:-1] if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz" else base
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def split_sentences(text: str) -> list[tuple[str, str]]:
    """Return the sentences of a text, each with the heading it stands under (``""`` without one)."""
    found: list[tuple[str, str]] = []
    heading = ""
    for block in _BLOCK.split(text):
        block = block.strip()
        if match := _HEADING.match(block):
            heading = match[1].strip()
            continue
        found.extend((sentence, heading) for sentence in _sentences(" ".join(block.split())))
    return found


def _sentences(block: str) -> list[str]:
    pieces = _BOUNDARY.split(block) if block else []
    sentences: list[list[str]] = []
    for before, piece in pairwise(["", *pieces]):
        if _ABBREVIATION.search(before[-10:]):
            sentences[-1].append(piece)
        else:
            sentences.append([piece])
    return [sentence for parts in sentences if _WORD.search(sentence := " ".join(parts))]


class Index:
    """Sentences ready to be ranked.

    Args:
        texts: the passages; each is split into sentences.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.sentences: list[Sentence] = []
        for text in texts:
            for sentence, heading in split_sentences(text):
                words = Counter(terms(sentence))
                above = frozenset(terms(heading)) - words.keys()
                self.sentences.append(Sentence(sentence, len(self.sentences), words, above))
        self._frequency = Counter(word for sentence in self.sentences for word in sentence.terms)
        total = sum(sentence.terms.total() for sentence in self.sentences)
        self._average = total / len(self.sentences) if total else 1.0

    def weight(self, word: str) -> float:
        """Return the inverse document frequency of a word."""
        n = self._frequency[word]
        return math.log(1 + (len(self.sentences) - n + 0.5) / (n + 0.5))

    def rank(self, query: str) -> list[Match]:
        """Return the sentences that share a word with the query, best first; equal ones in the order of the text."""
        words = set(terms(query))
        weights = {word: self.weight(word) for word in words}
        whole = sum(weights.values()) or 1.0
        matches: list[Match] = []
        for sentence in self.sentences:
            shared, above = words & sentence.terms.keys(), words & sentence.heading
            if shared:
                lift = HEADING * sum(weights[word] for word in above)
                score = sum(weights[word] * self._saturation(sentence, word) for word in shared) + lift
                matches.append(Match(sentence, score, (sum(weights[word] for word in shared) + lift) / whole))
        return sorted(matches, key=lambda match: (-match.score, match.sentence.position))

    def _saturation(self, sentence: Sentence, word: str) -> float:
        count = sentence.terms[word]
        return count * (K1 + 1) / (count + K1 * (1 - B + B * sentence.terms.total() / self._average))


@lru_cache(maxsize=32)
def index_of(texts: tuple[str, ...]) -> Index:
    """Return the index of passages; the last 32 are kept, since many questions are asked of one document."""
    return Index(texts)


__all__ = ["Index", "Match", "Sentence", "index_of", "split_sentences", "stem", "terms"]
