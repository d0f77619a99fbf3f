"""Reads back the prompts that DSPy's Chat, JSON and XML adapters write."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal
from xml.sax.saxutils import unescape

from python_bridge.engine.offline.field_types import note_schema, skeleton_schema

AdapterName = Literal["chat", "json", "xml", "plain"]
ChatMessage = tuple[str, str]
"""Role (``"system"``, ``"user"``, ``"assistant"``) and text."""

_INPUTS = "Your input fields are:\n"
_OUTPUTS = "Your output fields are:\n"
_STRUCTURE = "All interactions will be structured in the following way"
_OBJECTIVE = "In adhering to this structure, your objective is:"
_JSON_OUTPUTS = "Outputs will be a JSON object with the following fields."
_REQUIREMENTS = (
    "\n\nRespond with the corresponding output fields",
    "\n\nRespond with a JSON object in the following order of fields",
)
_NOT_SUPPLIED = "Not supplied for this "
_FIELD = re.compile(r"^(\d+)\. `(\w+)` \((.*?)\):(.*)$")
_NOTE = "# note: the value you produce "


@dataclass(frozen=True, slots=True)
class OutputField:
    """One field that the answer must hold.

    Attributes:
        type: the type as the prompt spells it (``"list[str]"``).
        schema: JSON Schema of its values.
        raw_text: the adapter takes the value as text, without reading JSON from it.
    """

    name: str
    type: str
    description: str
    schema: dict[str, Any]
    raw_text: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """A demo or an earlier turn of the conversation; values are the prompt's text."""

    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an adapter asked. With ``adapter == "plain"`` it is a free text in `inputs["prompt"]`, without outputs."""

    adapter: AdapterName
    inputs: dict[str, str]
    outputs: tuple[OutputField, ...] = ()
    turns: tuple[Turn, ...] = ()
    objective: str = ""


def read_prompt(messages: Sequence[ChatMessage]) -> Prompt:
    """Read a request's messages. Never fails: what no adapter wrote is a plain prompt."""
    system = "\n".join(text for role, text in messages if role in ("system", "developer"))
    talk = [(role, text) for role, text in messages if role not in ("system", "developer")]
    if _OUTPUTS not in system or _STRUCTURE not in system:
        return Prompt("plain", {"prompt": "\n\n".join(text for _, text in messages)})
    head, _, rest = system.partition(_STRUCTURE)
    structure, _, objective = rest.rpartition(_OBJECTIVE)
    inputs_text, _, outputs_text = head.partition(_OUTPUTS)
    input_names = [name for name, _, _ in _described(inputs_text.partition(_INPUTS)[2])]
    described = _described(outputs_text)
    adapter = _adapter_of(structure)
    notes = _notes(adapter, structure, [name for name, _, _ in described])
    outputs = tuple(_output(adapter, *entry, notes.get(entry[0], "")) for entry in described)
    reader = _Reader(adapter, input_names, [field.name for field in outputs])
    return Prompt(
        adapter,
        reader.inputs(talk[-1][1]) if talk else {},
        outputs,
        tuple(reader.turns(talk[:-1])),
        objective.strip(),
    )


def _adapter_of(structure: str) -> AdapterName:
    if _JSON_OUTPUTS in structure:
        return "json"
    return "chat" if "[[ ## completed ## ]]" in structure else "xml"


def _described(text: str) -> list[tuple[str, str, str]]:
    """Read the numbered list of fields: name, type, description (with its constraints)."""
    fields: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        match = _FIELD.match(line)
        if match and int(match[1]) == len(fields) + 1:
            fields.append((match[2], match[3], match[4].strip()))
        elif fields:
            name, type_, description = fields[-1]
            fields[-1] = (name, type_, f"{description}\n{line}".strip())
    return fields


def _notes(adapter: AdapterName, structure: str, names: Sequence[str]) -> dict[str, str]:
    """Return what the structure section says of each output: `{name}        # note: …`, or nested tags in XML."""
    if adapter == "json":
        text = structure.partition(_JSON_OUTPUTS)[2]
        try:
            notes, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
        except ValueError:
            return {}
        return {str(name): str(note) for name, note in notes.items()}
    if adapter == "chat":
        return _chat_sections(structure, [*names, "completed"])
    return {name: text for name in names if (text := _xml_element(structure, name)) is not None}


def _output(adapter: AdapterName, name: str, type_: str, description: str, note: str) -> OutputField:
    if adapter == "xml" and note and not note.startswith("{"):
        schema, raw = skeleton_schema(note, type_), False
    else:
        schema, raw = note_schema(note.partition(_NOTE)[2].strip(), type_, description)
    return OutputField(name, type_, description, schema, raw)


class _Reader:
    """Reads the values of one signature's fields out of messages."""

    def __init__(self, adapter: AdapterName, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._adapter, self._inputs, self._outputs = adapter, inputs, outputs

    def inputs(self, text: str) -> dict[str, str]:
        if self._adapter == "xml":
            return self._elements(text, self._inputs)
        for requirement in _REQUIREMENTS:
            start = text.rfind(requirement)
            text = text if start < 0 else text[:start]
        return _chat_sections(text, self._inputs)

    def outputs(self, text: str) -> dict[str, str]:
        if self._adapter == "xml":
            values = {name: unescape(value) for name, value in self._elements(text, self._outputs).items()}
        elif self._adapter == "chat":
            values = _chat_sections(text, [*self._outputs, "completed"])
        else:
            values = _json_fields(text)
        return {
            name: value
            for name, value in values.items()
            if name in self._outputs and not value.startswith(_NOT_SUPPLIED)
        }

    def turns(self, talk: Sequence[ChatMessage]) -> Iterable[Turn]:
        for (role, question), (next_role, answer) in pairwise(talk):
            if role == "user" and next_role == "assistant":
                yield Turn(self.inputs(question), self.outputs(answer))

    @staticmethod
    def _elements(text: str, names: Sequence[str]) -> dict[str, str]:
        return {name: value for name in names if (value := _xml_element(text, name)) is not None}


def _chat_sections(text: str, names: Sequence[str]) -> dict[str, str]:
    """Split at `[[ ## name ## ]]` lines of known fields; others (a document may hold some) are text."""
    if not names:
        return {}
    known = "|".join(re.escape(name) for name in names)
    pieces = re.split(rf"^[ \t]*\[\[ ## ({known}) ## \]\][ \t]*$", text, flags=re.MULTILINE)
    sections: dict[str, str] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        sections.setdefault(name, body.strip())
    return sections


def _xml_element(text: str, name: str) -> str | None:
    match = re.search(rf"<{re.escape(name)}>\n?(.*?)\n?</{re.escape(name)}>", text, re.DOTALL)
    return match[1].strip() if match else None


def _json_fields(text: str) -> dict[str, str]:
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(fields, dict):
        return {}
    return {str(k): v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in fields.items()}


__all__ = ["AdapterName", "ChatMessage", "OutputField", "Prompt", "Turn", "read_prompt"]
