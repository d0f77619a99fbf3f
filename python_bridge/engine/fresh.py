"""Inputs for code that may change them: a program's changes reach neither the caller nor the next attempt."""

from typing import Any

from pydantic import BaseModel


def fresh(value: Any) -> Any:
    """Return a copy of maps, lists, tuples, sets and pydantic models; what else there is stays the same object.

    So does what a model holds beside them: the function of a tool may be a method of an object that many share.
    """
    kind = type(value)
    if kind is dict:
        return {name: fresh(item) for name, item in value.items()}
    if kind is list:
        return [fresh(item) for item in value]
    if kind is tuple:
        return tuple([fresh(item) for item in value])
    if kind is set:
        return set(value)
    return _fresh_model(value) if isinstance(value, BaseModel) else value


def _fresh_model(value: BaseModel) -> BaseModel:
    copied = value.model_copy()
    parts: list[dict[str, Any]] = [vars(copied), copied.__pydantic_extra__ or {}]
    for members in parts:
        members.update({name: fresh(item) for name, item in members.items()})
    return copied


__all__ = ["fresh"]
