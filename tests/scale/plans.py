"""How a database means to answer the statements that a call sends it, by its own EXPLAIN."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Engine, event

BOUNDED = {"ix_image_due", "ix_delivery_due", "uq_job_open_study"}
"""Partial indices with entries of what waits or is open only: these may be read from end to end."""

NO_TABLE = {"VIRTUAL", "CONSTANT"}
"""What SQLite says of `json_each(?)` and of rows that stand in the statement itself."""


def reads_of(engine: Engine, ask: Callable[[Engine], object]) -> list[tuple[str, str]]:
    """Each statement that `ask` sends, with each step that reads a table or index from end to end.

    The statements are explained with the very values they are run with, just before they run.
    """
    found: list[tuple[str, str]] = []
    statements: list[str] = []

    def explain(_: Any, cursor: Any, statement: str, values: Any, __: Any, many: bool) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "UPDATE", "INSERT", "DELETE")):
            return
        statements.append(statement)
        plan = _postgres if engine.dialect.name == "postgresql" else _sqlite
        own = cursor.connection.cursor()
        steps = plan(own, statement, values[0] if many else values)
        found.extend((statement, step) for step in steps)

    event.listen(engine, "before_cursor_execute", explain)
    try:
        ask(engine)
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    assert statements, "nothing was asked"
    return found


def _postgres(cursor: Any, statement: str, values: Any) -> Iterator[str]:
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
    (plans,) = cursor.fetchone()
    plans = json.loads(plans) if isinstance(plans, str) else plans
    return (step for plan in plans for step in _whole(plan["Plan"]))


def _whole(node: dict[str, Any]) -> Iterator[str]:
    kind, index = node["Node Type"], node.get("Index Name")
    if kind == "Seq Scan":
        yield f"{kind} on {node['Relation Name']}"
    elif index is not None and "Index Cond" not in node and index not in BOUNDED:
        yield f"{kind} on {node.get('Relation Name', '')} over all of {index}"
    for child in node.get("Plans", ()):
        yield from _whole(child)


def _sqlite(cursor: Any, statement: str, values: Any) -> Iterator[str]:
    cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
    for *_, step in cursor.fetchall():
        # SCAN reads all of a table or index, SEARCH a part; the rest is a sub-query's rows.
        words = step.split()
        if words[0] == "SCAN" and not (BOUNDED | NO_TABLE) & set(words):
            yield step
