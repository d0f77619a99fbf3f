"""Whatever an answer makes DSPy's parsers raise, it is an answer that cannot be read."""

from typing import Any

from dspy.utils.exceptions import AdapterParseError


class ReadableAnswer:
    """Stands before DSPy's adapter in the order of classes.

    DSPy's own parsers let a `TypeError` through for a list in the place of an enum's member, a `RecursionError` for a
    deep one, and give an `Iterable` whose items nobody has looked at.
    """

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Return the fields of an answer.

        Raises:
            AdapterParseError: for anything that is wrong with the answer.
        """
        try:
            fields = super().parse(signature, completion)  # type: ignore[misc]
            return {name: list(value) if is_lazy(value) else value for name, value in fields.items()}
        except AdapterParseError:
            raise
        except Exception as error:
            raise AdapterParseError(
                adapter_name=type(self).__name__,
                signature=signature,
                lm_response=completion,
                message=f"{type(error).__name__}: {error}",
            ) from error


def is_lazy(value: Any) -> bool:
    """Whether pydantic looks at the items only when they are asked for, as it does for `Iterable[…]`."""
    return type(value).__name__ == "ValidatorIterator"


__all__ = ["ReadableAnswer", "is_lazy"]
