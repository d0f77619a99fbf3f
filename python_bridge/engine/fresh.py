"""Inputs for code that may change them: a program's changes reach neither the caller nor the next attempt."""

from typing import Any

from pydantic import BaseModel


def fresh(value: Any) -> Any:
    """Return a copy of maps, lists, tuples, sets and pydantic models; what else there is stays the same object."""
    kind = type(value)
    if kind is dict:
        return {name: fresh(item) for name, item in value.items()}
    if kind is list:
        return [fresh(item) for item in value]
    if kind is tuple:
        return tuple([fresh(item) for item in value])
    if kind is set:
        return set(value)
    return value.model_copy(deep=True) if isinstance(value, BaseModel) else value


__all__ = ["fresh"]
