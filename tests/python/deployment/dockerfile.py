"""A Dockerfile as a list of instructions by stage."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Stage:
    """What one `FROM` begins; `instructions` are pairs of a word and what follows it."""

    image: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def all(self, word: str) -> list[str]:
        """The arguments of every instruction `word`."""
        return [text for name, text in self.instructions if name == word]

    def environ(self) -> dict[str, str]:
        """What `ENV` sets."""
        return dict(entry.split("=", 1) for text in self.all("ENV") for entry in shlex.split(text))

    def copied(self) -> list[str]:
        """The files of the checkout that `COPY` takes."""
        texts = [text for text in self.all("COPY") if not text.startswith("--from")]
        return [name for text in texts for name in text.split()[:-1]]

    def command(self, word: str) -> list[str]:
        """The exec form of the last instruction `word`."""
        return json.loads(self.all(word)[-1].partition("[")[1] + self.all(word)[-1].partition("[")[2])


def parse(path: Path) -> tuple[dict[str, str], list[Stage]]:
    """Return the defaults of the `ARG`s before the first stage, and the stages."""
    text = "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.lstrip().startswith("#"))
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(image, name))
        elif word == "ARG" and not stages:
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word:
            stages[-1].instructions.append((word, rest.strip()))
    return arguments, stages
