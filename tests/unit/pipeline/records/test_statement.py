"""Statements compiled once, on SQLite, and what they are written as for PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline import db
from pipeline.flow import Step
from pipeline.records import intake, outcomes
from pipeline.records.among import Texts, among
from pipeline.records.outcomes import Claim, Outcome
from pipeline.records.statement import Statement
from pipeline.states import Priority, State
from pipeline.tables import images
from pipeline.uid import new_id

NAMED = Statement(
    lambda _: (
        update(images)
        .where(among(images.c.id, bindparam("ids", type_=Texts())), images.c.attempts < 7)
        .values(header=bindparam("header", type_=images.c.header.type), name=bindparam("name"))
        .returning(images.c.id)
    )
)


def admitted(engine: Engine, count: int) -> list[str]:
    job = intake.open_job(engine, "api", Priority.ROUTINE)
    arrivals = [intake.Arrival(new_id(), "a.png", sha256="0" * 64) for _ in range(count)]
    intake.admit(engine, job, arrivals, "prepare", 16, 60.0)
    return [arrival.id for arrival in arrivals]


def headers(engine: Engine) -> dict[str, object]:
    query = select(images.c.id, images.c.header)
    return db.read(engine, lambda c: {row[0]: row[1] for row in c.execute(query)})


def test_values_are_encoded_and_the_chosen_rows_returned(engine: Engine) -> None:
    first, second, third = admitted(engine, 3)
    facts = {"body_part_examined": "CHEST", "window": [1.5, 2.0]}

    def work(connection):  # type: ignore[no-untyped-def]
        return NAMED.once(connection, ids=[first, third], header=facts, name="b").scalars().all()

    assert sorted(db.write(engine, work)) == sorted([first, third])
    assert headers(engine) == {first: facts, second: None, third: facts}


def test_one_statement_takes_many_rows_and_shares_what_is_equal(engine: Engine) -> None:
    ids, shared = admitted(engine, 3), {"body_part_examined": "HAND"}
    rows = [{"ids": [image_id], "header": shared, "name": image_id} for image_id in ids[:2]]
    statement = Statement(
        lambda _: (
            update(images)
            .where(among(images.c.id, bindparam("ids", type_=Texts())))
            .values(header=bindparam("header", type_=images.c.header.type))
        )
    )
    db.write(engine, lambda c: statement.run(c, statement.encode(c.dialect, rows)))
    assert headers(engine) == {ids[0]: shared, ids[1]: shared, ids[2]: None}


def test_a_row_without_a_parameter_is_an_error_before_anything_is_sent() -> None:
    with pytest.raises(KeyError, match="name"):
        NAMED.encode(sqlite.dialect(), [{"ids": ["a"], "header": {}}])


def test_each_dialect_gets_its_own_words() -> None:
    row = {"ids": ["a", "b"], "header": {"k": 1}, "name": "n"}
    (for_sqlite,) = NAMED.encode(sqlite.dialect(), [row])
    assert for_sqlite == ("n", '{"k": 1}', '["a", "b"]', 7)
    (for_postgres,) = NAMED.encode(postgresql.psycopg.dialect(), [row])
    assert isinstance(for_postgres, dict)
    assert for_postgres["ids"] == ["a", "b"]
    assert for_postgres["name"] == "n"


def test_images_that_go_the_same_way_are_moved_together() -> None:
    held = [Claim(f"{n}", 1, 1, 5, None, None, 0.0, "job") for n in range(5)]
    on, end = Step(State.GATED, "type"), Step(State.REJECTED, None, "not_xray", "no X-ray")
    some = [Outcome(h, on if n % 2 else end, {"xray_type": "x"}) for n, h in enumerate(held)]
    moved = outcomes.moves(sqlite.dialect(), some, 60.0).rows
    assert sorted(rows[0][-1] for _, rows in moved) == ['["0", "2", "4"]', '["1", "3"]']
    assert [len(rows) for _, rows in moved] == [1, 1]


def test_a_single_statement_waits_for_another_writer_and_is_then_there_for_all(
    engine: Engine,
) -> None:
    ids = admitted(engine, 3)
    rows = NAMED.encode(engine.dialect, [{"ids": ids, "header": {"k": 1}, "name": "b"}])
    with ThreadPoolExecutor(1) as beside:
        with engine.connect() as other, other.execution_options(writes=True).begin():
            other.execute(update(images).values(attempts=1))
            named = beside.submit(
                db.write, engine, lambda connection: NAMED.rows(connection, rows), single=True
            )
            with pytest.raises(TimeoutError):
                named.result(0.2)
        assert sorted(row[0] for row in named.result(30)) == sorted(ids)
    assert headers(engine) == {image_id: {"k": 1} for image_id in ids}
    attempts = db.read(engine, lambda c: c.execute(select(images.c.attempts)).scalars().all())
    assert list(attempts) == [1, 1, 1], "what the other wrote is kept"
