"""The recorded steps of an execution as a tree, for people."""

from collections.abc import Iterator, Sequence
from typing import Any

_CUT = 80


def tree(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outermost steps, each with its `children`, in the order in which they began."""
    nodes: dict[str, dict[str, Any]] = {step["id"]: {**step, "children": []} for step in steps}
    roots: list[dict[str, Any]] = []
    for node in nodes.values():
        parent = nodes.get(node["parent"])
        (roots if parent is None else parent["children"]).append(node)
    return roots


def render(steps: Sequence[dict[str, Any]]) -> str:
    """Return one line a step, indented below the step that made it."""
    return "\n".join(line for node in tree(steps) for line in _lines(node, 0))


def _lines(node: dict[str, Any], depth: int) -> Iterator[str]:
    duration = f"{node['duration'] * 1000:.1f} ms" if node["duration"] is not None else "did not end"
    tokens: dict[str, int] = node.get("tokens") or {}
    counted = f", {tokens['total_tokens']} tokens" if "total_tokens" in tokens else ""
    shown = f"! {node['error']}" if node["error"] else f"→ {_cut(node.get('completion') or node['outputs'])}"
    yield f"{'  ' * depth}{node['kind']} {node['name']} ({duration}{counted}) {shown}"
    for child in node["children"]:
        yield from _lines(child, depth + 1)


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _CUT else text[:_CUT] + "…"


__all__ = ["render", "tree"]
