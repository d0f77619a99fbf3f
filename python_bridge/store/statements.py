"""Core statements, compiled once a dialect and then run straight on the driver.

A statement of a session's call costs 6 us this way and 30 us through `Connection.execute`: the whole change of a
session has to fit into a fraction of the call that it belongs to.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import sqlalchemy as sa

Row = Sequence[Any]


class Cursor(Protocol):
    """What is used of a driver's cursor."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class DriverConnection(Protocol):
    """What is used of a driver's connection: `sqlite3.Connection` and `psycopg.Connection` both have it."""

    def execute(self, query: Any, params: Any = ..., /) -> Any: ...
    def close(self) -> None: ...


class _Prepared:
    __slots__ = ("_defaults", "_names", "text")

    def __init__(self, statement: sa.ClauseElement, dialect: sa.Dialect) -> None:
        compiled = cast(Any, statement.compile(dialect=dialect))
        self.text: str = str(compiled)
        self._defaults: dict[str, Any] = compiled.params
        self._names: list[str] | None = compiled.positiontup

    def bind(self, values: Mapping[str, Any]) -> Any:
        defaults = self._defaults
        if self._names is None:
            return {**defaults, **values}
        return [values[name] if name in values else defaults[name] for name in self._names]


class Compiler:
    """The compiled statements of one dialect. Statements are module constants, so their number is fixed."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._prepared: dict[sa.ClauseElement, _Prepared] = {}

    def prepare(self, statement: sa.ClauseElement) -> _Prepared:
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = _Prepared(statement, self._dialect)
        return prepared


class Transaction:
    """Runs statements on one connection; whoever made it begins and ends the transaction."""

    __slots__ = ("_compiler", "_connection")

    def __init__(self, connection: DriverConnection, compiler: Compiler) -> None:
        self._connection = connection
        self._compiler = compiler

    def run(self, statement: sa.ClauseElement, values: Mapping[str, Any]) -> Cursor:
        """Run one statement of Core with `values` by the names of its bind parameters."""
        prepared = self._compiler.prepare(statement)
        return self._connection.execute(prepared.text, prepared.bind(values))


__all__ = ["Compiler", "Cursor", "DriverConnection", "Row", "Transaction"]
