"""Statements that are compiled once, and rows that are encoded before their transaction begins.

For a chunk of 64 images SQLAlchemy takes several times as long to find a statement in its cache
and to bind its values as the database takes to carry it out; and on SQLite, where there is one
writer at a time, all others wait meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import JSON, ClauseElement, Connection, CursorResult, Dialect, Row
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Encoded = tuple[Any, ...] | dict[str, Any]
"""The values of one row as the driver takes them."""
Encoder = Callable[[Any], Any]


class Statement:
    """An INSERT, UPDATE or DELETE with named parameters, ready for each dialect in use.

    What it returns comes as the driver gives it: numbers and text do, JSON is not decoded.
    """

    def __init__(self, make: Callable[[Dialect], ClauseElement]) -> None:
        """`make` writes it for a dialect; each `bindparam` without a value has to be given."""
        self._make = make
        self._plans: dict[str, _Plan] = {}

    def encode(self, dialect: Dialect, rows: Sequence[Values]) -> list[Encoded]:
        """Rows for `run`. Raises KeyError where a row lacks a parameter."""
        plan = self._plan(dialect)
        # Many rows share a JSON value (what a model card says of its labels): encoded once.
        known: dict[tuple[str, int], Any] = {}
        return [plan.encode(row, known) for row in rows]

    def run(self, connection: Connection, rows: list[Encoded]) -> CursorResult[*tuple[Any, ...]]:
        """Carry it out for each of these rows; at least one."""
        text = self._plan(connection.dialect).text
        return connection.exec_driver_sql(text, rows[0] if len(rows) == 1 else cast("Any", rows))

    def rows(self, connection: Connection, rows: list[Encoded]) -> Sequence[Row[*tuple[Any, ...]]]:
        """Carry it out and fetch all that it returns, in one go: one by one takes twice as long."""
        return self.run(connection, rows).all()

    def once(self, connection: Connection, **values: object) -> CursorResult[*tuple[Any, ...]]:
        """Encode these values and carry it out."""
        return self.run(connection, self.encode(connection.dialect, [values]))

    def _plan(self, dialect: Dialect) -> "_Plan":
        plan = self._plans.get(dialect.name)
        if plan is None:
            plan = self._plans[dialect.name] = _Plan.of(self._make(dialect), dialect)
        return plan


@dataclass(frozen=True, slots=True)
class _Plan:
    text: str
    names: tuple[str, ...]
    """Of all parameters; where the driver wants them by position, in that order."""
    positional: bool
    fixed: Values
    """Values that stand in the statement itself."""
    encoders: Sequence[tuple[str, Encoder]]
    """For parameters that the driver does not take as they are."""
    json_encoders: Sequence[tuple[str, Encoder]]

    @classmethod
    def of(cls, statement: ClauseElement, dialect: Dialect) -> "_Plan":
        compiled = cast("SQLCompiler", statement.compile(dialect=dialect))
        plain: list[tuple[str, Encoder]] = []
        json: list[tuple[str, Encoder]] = []
        for name, bind in compiled.binds.items():
            encoder = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if encoder is not None:
                (json if isinstance(bind.type, JSON) else plain).append((name, encoder))
        return cls(
            text=str(compiled),
            names=tuple(compiled.positiontup or compiled.binds),
            positional=compiled.positional,
            fixed={name: b.value for name, b in compiled.binds.items() if not b.required},
            encoders=plain,
            json_encoders=json,
        )

    def encode(self, row: Values, known: dict[tuple[str, int], Any]) -> Encoded:
        values = {**self.fixed, **row}
        for name, encoder in self.encoders:
            values[name] = encoder(values[name])
        for name, encoder in self.json_encoders:
            place = name, id(row[name])
            if place not in known:
                known[place] = encoder(row[name])
            values[name] = known[place]
        if self.positional:
            return tuple(map(values.__getitem__, self.names))
        return {name: values[name] for name in self.names}
