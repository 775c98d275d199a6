"""`among(column, ids)`: one of many, as one parameter.

SQLAlchemy's own `in_` makes a parameter of each id, which for a chunk of 64 takes longer in
Python than the whole statement takes in the database.
"""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, BindParameter, Boolean, ColumnElement, Dialect, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class Texts(TypeDecorator[list[str]]):
    """Many texts in one parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(Text) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)


class among(FunctionElement[bool]):  # noqa: N801 - reads as a condition
    """Whether `column` is one of `texts`."""

    inherit_cache = True
    type = Boolean()

    def __init__(
        self, column: ColumnElement[Any], texts: Iterable[str] | BindParameter[list[str]]
    ) -> None:
        """`texts` may be empty: then nothing is among them. A parameter has the type `Texts`."""
        if not isinstance(texts, BindParameter):
            texts = bindparam(None, list(texts), type_=Texts())
        super().__init__(column, texts)

    def self_group(self, against: Any = None) -> "among":  # noqa: ARG002 - SQLAlchemy's signature
        """As it is: SQLAlchemy would write `(… IN …) = 1` for SQLite, which then reads all rows."""
        return self


@compiles(among, "sqlite")
def _sqlite(element: among, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 - both parts are SQLAlchemy's


@compiles(among, "postgresql")
def _postgres(element: among, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} = ANY({texts})"
