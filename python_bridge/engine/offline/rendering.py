"""Writes field values the way an adapter wants to read them."""

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr

from python_bridge.engine.offline.prompt import AdapterName

_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(adapter: AdapterName, values: Mapping[str, Any], raw_text: frozenset[str] | None = None) -> str:
    """Return the completion that holds the fields.

    Args:
        adapter: ``"plain"`` joins the values by blank lines.
        values: JSON-like values by field name, in the order to write them.
        raw_text: fields whose text stands as it is; ``None`` means every text. Other texts are written as JSON strings
            where the adapter would else read JSON out of them.
    """
    match adapter:
        case "json":
            return json.dumps(values, indent=2, ensure_ascii=False)
        case "xml":
            return "\n\n".join(_xml_field(name, value, _is_raw(name, raw_text)) for name, value in values.items())
        case "chat":
            fields = [f"[[ ## {name} ## ]]\n{_plain(value, _is_raw(name, raw_text))}" for name, value in values.items()]
            return "\n\n".join([*fields, "[[ ## completed ## ]]"]) + "\n"
        case _:
            return "\n\n".join(_plain(value, raw=True) for value in values.values())


def _is_raw(name: str, raw_text: frozenset[str] | None) -> bool:
    return raw_text is None or name in raw_text


def _plain(value: Any, raw: bool) -> str:
    if isinstance(value, str) and raw:
        # A document may hold a field's marker; as a part of an answer it would end the field.
        return value.replace("[[ ##", "[ [ ##")
    return str(value) if isinstance(value, bool) or value is None else json.dumps(value, ensure_ascii=False)


def _xml_field(name: str, value: Any, raw: bool) -> str:
    if isinstance(value, dict | list):
        return _xml_value(name, value)
    return f"<{name}>\n{_escaped(value if isinstance(value, str) and raw else _plain(value, raw))}\n</{name}>"


def _xml_value(tag: str, value: Any, attributes: str = "") -> str:
    if isinstance(value, list):
        inner = "".join(_xml_value("item", item) for item in value)
    elif isinstance(value, dict):
        inner = "".join(_xml_entry(str(key), item) for key, item in value.items())
    else:
        inner = "" if value is None else _escaped(str(value))
    return f"<{tag}{attributes}>{inner}</{tag}>"


def _xml_entry(key: str, value: Any) -> str:
    if _NAME.match(key) and key != "entry":
        return _xml_value(key, value)
    return _xml_value("entry", value, f" key={quoteattr(key)}")


def _escaped(text: str) -> str:
    return _NOT_XML.sub("", text).replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;")


__all__ = ["render"]
